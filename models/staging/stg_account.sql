/* Valid account rows, typed and cleaned. One row per account and load that brought it, changed it or no longer held it. Answers: which account data do we trust, since which load? */
MODEL (
  name staging.stg_account,
  kind INCREMENTAL_BY_TIME_RANGE (
    time_column loaded_at,
    partition_by_time_column FALSE
  ),
  clustered_by loaded_at,
  grain (account_id, loaded_at),
  references (
    customer_id
  ),
  tags (staging, account),
  audits (
    not_null(columns := (account_id, is_deleted_flag, loaded_at)),
    not_null(
      columns := (customer_id, balance_amount, account_type),
      condition := NOT is_deleted_flag
    ),
    unique_combination_of_columns(columns := (account_id, loaded_at)),
    accepted_values("column" := account_type, is_in := ('savings', 'checking')),
    accepted_range("column" := customer_id, min_v := 1),
    not_negative("column" := balance_amount)
  )
);

SELECT
  account_key::TEXT AS account_id, /* Account id */
  customer_id::BIGINT, /* Customer that the account belongs to; NULL on a removal */
  balance_amount::DECIMAL(18, 2), /* Balance; NULL on a removal */
  account_type::TEXT, /* savings or checking; NULL on a removal */
  is_deleted_flag::BOOLEAN, /* The account left the feed with this load */
  loaded_at::TIMESTAMP /* Time of the load (UTC) */
FROM staging.judged_account
WHERE
  reasons = '' AND loaded_at BETWEEN @start_ts AND @end_ts
