/* The event log of accounts. One row per account and moment at which it or its customer changed, with what held from that moment on. Answers: what changed for an account, when, and what was its customer's state? */
MODEL (
  name intermediate.int_account_with_customer,
  kind INCREMENTAL_BY_TIME_RANGE (
    time_column event_at,
    partition_by_time_column FALSE
  ),
  clustered_by event_at,
  grain (account_id, event_at),
  references (
    customer_id
  ),
  tags (intermediate, account, customer),
  audits (
    not_null(
      columns := (account_id, customer_id, balance_amount, account_type, event_status, event_at)
    ),
    not_null(columns := (customer_name, has_loan_flag), condition := event_status = 'active'),
    unique_combination_of_columns(columns := (account_id, event_at)),
    accepted_values(
      "column" := event_status,
      is_in := ('active', 'account_gone', 'customer_unknown', 'customer_gone')
    ),
    accepted_values("column" := account_type, is_in := ('savings', 'checking')),
    not_negative("column" := balance_amount)
  )
);

WITH customer_moment AS (
  SELECT
    customer_id,
    valid_from_at AS moment_at
  FROM snapshots.snap_customer
  WHERE
    valid_from_at BETWEEN @start_ts AND @end_ts
  UNION ALL
  SELECT
    customer_id,
    valid_to_at AS moment_at
  FROM snapshots.snap_customer
  WHERE
    is_deleted_flag AND valid_to_at BETWEEN @start_ts AND @end_ts
), account_moment AS (
  SELECT
    account_id,
    customer_id,
    balance_amount,
    account_type,
    @attributes(@account_attributes, @account_attribute_descriptions),
    FALSE AS is_account_gone,
    valid_from_at AS event_at
  FROM snapshots.snap_account
  WHERE
    valid_from_at BETWEEN @start_ts AND @end_ts
  UNION ALL
  SELECT
    account_id,
    customer_id,
    balance_amount,
    account_type,
    @attributes(@account_attributes, @account_attribute_descriptions),
    TRUE AS is_account_gone,
    valid_to_at AS event_at
  FROM snapshots.snap_account
  WHERE
    is_deleted_flag AND valid_to_at BETWEEN @start_ts AND @end_ts
  UNION ALL
  SELECT
    account.account_id,
    account.customer_id,
    account.balance_amount,
    account.account_type,
    @attributes(@account_attributes, @account_attribute_descriptions, account),
    FALSE AS is_account_gone,
    customer_moment.moment_at AS event_at
  FROM customer_moment
  JOIN snapshots.snap_account AS account
    ON account.customer_id = customer_moment.customer_id
    AND @holds_at(account, customer_moment.moment_at)
    AND account.valid_from_at < customer_moment.moment_at
), first_known AS (
  SELECT
    customer_id,
    MIN(valid_from_at) AS first_known_at
  FROM snapshots.snap_customer
  GROUP BY
    customer_id
)
SELECT
  moment.account_id::TEXT, /* Account id */
  moment.customer_id::BIGINT, /* Customer that the account belongs to */
  moment.balance_amount::DECIMAL(18, 2), /* Balance */
  moment.account_type::TEXT, /* savings or checking */
  @attributes(@account_attributes, @account_attribute_descriptions, moment),
  customer.customer_name::TEXT, /* Name of the customer; NULL while the customer is not known */
  customer.has_loan_flag::BOOLEAN, /* Whether the customer has a loan; NULL while the customer is not known */
  @attributes(@customer_attributes, @customer_attribute_descriptions, customer),
  previous.customer_id::BIGINT AS previous_customer_id, /* Owner before, where the event replaced a version of the account */
  previous.account_type::TEXT AS previous_account_type, /* Type before, where the event replaced a version of the account */
  CASE
    WHEN moment.is_account_gone
    THEN 'account_gone'
    WHEN NOT customer.customer_id IS NULL
    THEN 'active'
    WHEN first_known.first_known_at <= moment.event_at
    THEN 'customer_gone'
    ELSE 'customer_unknown'
  END::TEXT AS event_status, /* active, account_gone, customer_unknown or customer_gone */
  moment.event_at::TIMESTAMP /* Load that brought the event */
FROM account_moment AS moment
LEFT JOIN snapshots.snap_customer AS customer
  ON customer.customer_id = moment.customer_id
  AND @holds_at(customer, moment.event_at)
LEFT JOIN first_known
  ON first_known.customer_id = moment.customer_id
LEFT JOIN snapshots.snap_account AS previous
  ON previous.account_id = moment.account_id
  AND previous.valid_to_at = moment.event_at
  AND NOT previous.is_deleted_flag
