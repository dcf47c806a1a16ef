/* Customer rows that break a rule, as received, with every reason. One row per load and row that broke one. Answers: what was kept out of the marts, and why? */
MODEL (
  name staging.quarantine_customer,
  kind INCREMENTAL_BY_TIME_RANGE (
    time_column loaded_at,
    partition_by_time_column FALSE
  ),
  clustered_by loaded_at,
  depends_on (source.src_customer, staging.stg_customer),
  grain (loaded_at, customer_key, customer_id, customer_name, has_loan),
  tags (staging, quarantine, customer),
  audits (
    not_null(columns := (customer_key, reasons, loaded_at)),
    not_empty_string("column" := reasons),
    landed_rows_accounted_for(landed := source.src_customer, valid := staging.stg_customer)
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
  reasons <> '' AND loaded_at BETWEEN @start_ts AND @end_ts
