/* The change log of the account feed as received. One row per load and row that was new, changed or gone in it. Answers: what did the file say, and when? */
MODEL (
  name source.src_account,
  kind VIEW,
  physical_properties (
    'delta.columnMapping.mode' = NULL
  ),
  grain (loaded_at, account_key, account_id, customer_id, balance, account_type),
  tags (source, account),
  audits (
    not_null(columns := (loaded_at, account_key)),
    accepted_values("column" := change_type, is_in := ('new', 'changed', 'gone'))
  )
);

SELECT
  loaded_at::TIMESTAMP, /* Time of the load (UTC) */
  change_type::TEXT, /* new, changed or gone, against what was known before the load */
  account_key::TEXT, /* Trimmed account id: identifies the row from load to load */
  rows_for_key_count::BIGINT, /* Different rows that the file held for this key; more than one is a conflict, none is a removal */
  account_id::TEXT, /* Account id as received */
  customer_id::TEXT, /* Customer id as received */
  balance::TEXT, /* Balance as received */
  account_type::TEXT /* Account type as received */
FROM landing.account
WHERE
  loaded_at IN (
    SELECT
      loaded_at
    FROM landing.load
    WHERE
      feed = 'account'
  )
