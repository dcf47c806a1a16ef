/* Valid customer rows, typed and cleaned. One row per customer and load that brought it, changed it or no longer held it. Answers: which customer data do we trust, since which load? */
MODEL (
  name staging.stg_customer,
  kind INCREMENTAL_BY_TIME_RANGE (
    time_column loaded_at,
    partition_by_time_column FALSE
  ),
  clustered_by loaded_at,
  grain (customer_id, loaded_at),
  tags (staging, customer),
  audits (
    not_null(columns := (customer_id, is_deleted_flag, loaded_at)),
    not_null(columns := (customer_name, has_loan_flag), condition := NOT is_deleted_flag),
    unique_combination_of_columns(columns := (customer_id, loaded_at)),
    accepted_range("column" := customer_id, min_v := 1)
  )
);

SELECT
  customer_id::BIGINT, /* Customer id */
  customer_name::TEXT, /* Name, trimmed; NULL on a removal */
  has_loan_flag::BOOLEAN, /* Whether the customer has a loan; NULL on a removal */
  is_deleted_flag::BOOLEAN, /* The customer left the feed with this load */
  loaded_at::TIMESTAMP /* Time of the load (UTC) */
FROM staging.judged_customer
WHERE
  reasons = '' AND loaded_at BETWEEN @start_ts AND @end_ts
