/* History of the accounts, kept by SQLMesh's own strategy. One row per account and row that came of it: where the account left the feed, that is a version, too. Answers: what did we know of the account, and since when was it gone? */
MODEL (
  name snapshots.snap_account_event,
  kind SCD_TYPE_2_BY_TIME (
    unique_key account_id,
    updated_at_name loaded_at,
    updated_at_as_valid_from TRUE,
    valid_from_name valid_from_at,
    valid_to_name valid_to_at,
    time_data_type TIMESTAMP,
    forward_only FALSE,
    disable_restatement FALSE
  ),
  clustered_by (account_id, valid_from_at),
  depends_on (staging.judged_customer, staging.judged_account),
  grain (account_id, valid_from_at),
  tags (snapshots, account),
  ignored_rules (
    nomissingunittest
  ),
  audits (
    not_null(
      columns := (
        account_id,
        customer_id,
        balance_amount,
        account_type,
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
    scd2_no_overlap(key := account_id)
  )
);

SELECT
  account_key::TEXT AS account_id, /* Account id */
  customer_id::BIGINT, /* Customer that the account belongs to */
  balance_amount::DECIMAL(18, 2), /* Balance */
  account_type::TEXT, /* savings or checking */
  @attributes(@account_attributes, @account_attribute_descriptions),
  is_deleted_flag::BOOLEAN, /* The account left the feed */
  loaded_at::TIMESTAMP /* Load that opened the version */
FROM staging.judged_account
WHERE
  reasons = '' AND loaded_at BETWEEN @start_ts AND @end_ts
