/* History of the customers, kept by SQLMesh's own strategy. One row per customer and row that came of it: where the customer left the feed, that is a version, too. Answers: what did we know of the customer, and since when was it gone? */
MODEL (
  name snapshots.snap_customer_event,
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
  ignored_rules (
    nomissingunittest
  ),
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
      condition := NOT is_deleted_flag AND @version_changed_in_window()
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
  is_deleted_flag::BOOLEAN, /* The customer left the feed */
  loaded_at::TIMESTAMP /* Load that opened the version */
FROM staging.judged_customer
WHERE
  reasons = '' AND loaded_at BETWEEN @start_ts AND @end_ts
