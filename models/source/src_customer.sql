/* The change log of the customer feed as received. One row per load and row that was new, changed or gone in it. Answers: what did the file say, and when? */
MODEL (
  name source.src_customer,
  kind VIEW,
  physical_properties (
    'delta.columnMapping.mode' = NULL
  ),
  grain (loaded_at, customer_key, customer_id, customer_name, has_loan),
  tags (source, customer),
  audits (
    not_null(columns := (loaded_at, customer_key)),
    accepted_values("column" := change_type, is_in := ('new', 'changed', 'gone'))
  )
);

SELECT
  loaded_at::TIMESTAMP, /* Time of the load (UTC) */
  change_type::TEXT, /* new, changed or gone, against what was known before the load */
  customer_key::TEXT, /* Trimmed customer id: identifies the row from load to load */
  rows_for_key_count::BIGINT, /* Different rows that the file held for this key; more than one is a conflict, none is a removal */
  customer_id::TEXT, /* Customer id as received */
  customer_name::TEXT, /* Name as received */
  has_loan::TEXT /* Loan flag as received */
FROM landing.customer
WHERE
  loaded_at IN (
    SELECT
      loaded_at
    FROM landing.load
    WHERE
      feed = 'customer'
  )
