/* History of the accounts. One row per account and version: what held from valid_from_at until before valid_to_at. Answers: what was an account's balance, type and owner on a day? */
MODEL (
  name snapshots.snap_account,
  kind SCD_TYPE_2_BY_COLUMN (
    unique_key account_id,
    columns *,
    updated_at_name loaded_at,
    valid_from_name valid_from_at,
    valid_to_name valid_to_at,
    time_data_type TIMESTAMP,
    forward_only FALSE,
    disable_restatement FALSE
  ),
  clustered_by (account_id, valid_from_at),
  depends_on (staging.judged_customer, staging.judged_account),
  grain (account_id, valid_from_at),
  references (
    customer_id
  ),
  tags (snapshots, account),
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
      condition := @version_changed_in_window()
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
  is_deleted_flag::BOOLEAN, /* The version ended because the account left the feed */
  loaded_at::TIMESTAMP /* Load that opened the version */
FROM staging.judged_account
WHERE
  reasons = '' AND loaded_at BETWEEN @start_ts AND @end_ts
