AUDIT (
  name held_back_by_customer,
  blocking FALSE
);

/* Accounts whose last event in the window leaves them without a known customer: valid, but in no mart. */
WITH last_event AS (
  SELECT
    account_id,
    MAX(event_at) AS event_at
  FROM @this_model AS event
  GROUP BY
    account_id
)
SELECT
  event.account_id,
  event.customer_id,
  event.event_status,
  event.event_at
FROM @this_model AS event
JOIN last_event
  ON last_event.account_id = event.account_id AND last_event.event_at = event.event_at
WHERE
  event.event_status IN ('customer_unknown', 'customer_gone')
