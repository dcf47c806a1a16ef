/* Customer rows that break a rule, as received, with every reason. One row per load and row that broke one. Answers: what was kept out of the marts, and why? */
MODEL (
  name staging.quarantine_customer,
  kind VIEW,
  physical_properties (
    'delta.columnMapping.mode' = NULL
  ),
  grain (loaded_at, customer_key, customer_id, customer_name, has_loan),
  tags (staging, quarantine, customer),
  ignored_rules (
    nomissingaudits
  )
);

SELECT
  customer_key::TEXT, /* Trimmed customer id */
  received_customer_id::TEXT AS customer_id, /* Customer id as received */
  received_customer_name::TEXT AS customer_name, /* Name as received */
  received_has_loan::TEXT AS has_loan, /* Loan flag as received */
  is_deleted_flag::BOOLEAN, /* The key left the feed with this load */
  reasons::TEXT, /* Codes of all rules that the row breaks */
  loaded_at::TIMESTAMP /* Time of the load (UTC) */
FROM staging.judged_customer
WHERE
  reasons <> ''
