/* History of the customers. One row per customer and version: what held from valid_from_at until before valid_to_at. Answers: what did we know of a customer on a day? */
MODEL (
  name snapshots.snap_customer,
  kind SCD_TYPE_2_BY_TIME (
    unique_key customer_id,
    updated_at_name loaded_at,
    updated_at_as_valid_from TRUE,
    valid_from_name valid_from_at,
    valid_to_name valid_to_at,
    time_data_type TIMESTAMP,
    forward_only FALSE,
    disable_restatement FALSE
  ),
  clustered_by (customer_id, valid_from_at),
  depends_on (staging.judged_customer, staging.judged_account),
  grain (customer_id, valid_from_at),
  tags (snapshots, customer),
  audits (
    not_null(
      columns := (
        customer_id,
        customer_name,
        has_loan_flag,
        is_deleted_flag,
        loaded_at,
        valid_from_at
      ),
      condition := @version_changed_in_window()
    ),
    valid_date_range(
      start_column := valid_from_at,
      end_column := valid_to_at,
      condition := @version_changed_in_window()
    ),
    scd2_no_overlap(key := customer_id)
  )
);

SELECT
  customer_id::BIGINT, /* Customer id */
  customer_name::TEXT, /* Name */
  has_loan_flag::BOOLEAN, /* Whether the customer has a loan */
  @attributes(@customer_attributes, @customer_attribute_descriptions),
  is_deleted_flag::BOOLEAN, /* The version ended because the customer left the feed */
  loaded_at::TIMESTAMP /* Load that opened the version */
FROM staging.judged_customer
WHERE
  reasons = '' AND loaded_at BETWEEN @start_ts AND @end_ts
