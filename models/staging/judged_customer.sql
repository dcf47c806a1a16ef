/* The rules of validity for customers, each written once. One row per row of source.src_customer, with the typed columns and every reason against it. Answers: which rows do we trust, and what is wrong with the others? */
MODEL (
  name staging.judged_customer,
  kind INCREMENTAL_BY_TIME_RANGE (
    time_column loaded_at,
    partition_by_time_column FALSE
  ),
  clustered_by loaded_at,
  grain (
    loaded_at,
    customer_key,
    received_customer_id,
    received_customer_name,
    received_has_loan
  ),
  tags (staging, customer),
  audits (
    not_null(columns := (customer_key, is_deleted_flag, reasons, loaded_at)),
    not_null(columns := (
      customer_id
    ), condition := reasons = ''),
    not_null(
      columns := (customer_name, has_loan_flag),
      condition := reasons = '' AND NOT is_deleted_flag
    ),
    unique_combination_of_columns(columns := (customer_id, loaded_at), condition := reasons = ''),
    accepted_range("column" := customer_id, min_v := 1, condition := reasons = ''),
    landed_rows_accounted_for(landed := source.src_customer)
  )
);

WITH received AS (
  SELECT
    *,
    change_type = 'gone' AS is_deleted_flag
  FROM source.src_customer
  WHERE
    loaded_at BETWEEN @start_ts AND @end_ts
)
SELECT
  loaded_at::TIMESTAMP, /* Time of the load (UTC) */
  is_deleted_flag::BOOLEAN, /* The key left the feed with this load */
  customer_key::TEXT, /* Trimmed customer id */
  @as_received(@customer_columns, @customer_descriptions, output_prefix := received_),
  TRY_CAST(customer_key AS BIGINT)::BIGINT AS customer_id, /* Customer id; NULL where it is not a number */
  @collapse_white_space(customer_name)::TEXT AS customer_name, /* Name, trimmed, inner white space collapsed */
  CASE
    WHEN is_deleted_flag
    THEN NULL
    WHEN @is_one_of(has_loan, 'yes', 'y', 'true', '1')
    THEN TRUE
    WHEN @is_one_of(has_loan, 'no', 'n', 'false', '0') OR @is_absent(has_loan)
    THEN FALSE
  END::BOOLEAN AS has_loan_flag, /* Whether the customer has a loan; NULL where the word is unknown */
  @attributes_received(@customer_attributes, @customer_attribute_descriptions),
  @all_reasons(
    CASE
      WHEN @is_absent(customer_key)
      THEN 'customer_id_missing'
      WHEN NOT @is_customer_id(customer_key)
      THEN 'customer_id_invalid'
    END,
    CASE
      WHEN NOT is_deleted_flag AND @is_absent(customer_name)
      THEN 'customer_name_missing'
    END,
    CASE
      WHEN NOT is_deleted_flag
      AND NOT @is_one_of(has_loan, 'yes', 'y', 'true', '1', 'no', 'n', 'false', '0')
      AND NOT @is_absent(has_loan)
      THEN 'has_loan_invalid'
    END,
    CASE WHEN rows_for_key_count > 1 THEN 'conflicting_rows' END
  )::TEXT AS reasons /* Codes of all rules that the row breaks, in the order of the rules; empty for a valid row */
FROM received
