/* The rules of validity for accounts, each written once. One row per row of source.src_account, with the typed columns and every reason against it. Answers: which rows do we trust, and what is wrong with the others? */
MODEL (
  name staging.judged_account,
  kind INCREMENTAL_BY_TIME_RANGE (
    time_column loaded_at,
    partition_by_time_column FALSE
  ),
  clustered_by loaded_at,
  grain (
    loaded_at,
    account_key,
    received_account_id,
    received_customer_id,
    received_balance,
    received_account_type
  ),
  tags (staging, account),
  audits (
    not_null(columns := (account_key, is_deleted_flag, reasons, loaded_at)),
    not_null(
      columns := (customer_id, balance_amount, account_type),
      condition := reasons = '' AND NOT is_deleted_flag
    ),
    unique_combination_of_columns(columns := (account_key, loaded_at), condition := reasons = ''),
    accepted_values(
      "column" := account_type,
      is_in := ('savings', 'checking'),
      condition := reasons = ''
    ),
    accepted_range("column" := customer_id, min_v := 1, condition := reasons = ''),
    not_negative("column" := balance_amount, condition := reasons = ''),
    landed_rows_accounted_for(landed := source.src_account)
  )
);

WITH received AS (
  SELECT
    *,
    change_type = 'gone' AS is_deleted_flag,
    @identifier(customer_id, @account_stripped) AS customer_text,
    @amount_text(balance, @account_separators) AS balance_text
  FROM source.src_account
  WHERE
    loaded_at BETWEEN @start_ts AND @end_ts
), measured AS (
  SELECT
    *,
    LTRIM(balance_text, '+-') AS unsigned_text,
    STRPOS(LTRIM(balance_text, '+-') || '.', '.') - 1 AS whole_digits_count
  FROM received
), truncated AS (
  SELECT
    *,
    TRY_CAST(SUBSTRING(unsigned_text, 1, whole_digits_count + 3) AS DECIMAL(18, 2)) AS truncated_amount,
    SUBSTRING(unsigned_text, whole_digits_count + 4, 1) AS third_decimal
  FROM measured
), rounded AS (
  SELECT
    *,
    CASE
      WHEN third_decimal BETWEEN '5' AND '9'
      THEN TRY_CAST(truncated_amount::DECIMAL(19, 2) + 0.01 AS DECIMAL(18, 2))
      ELSE truncated_amount
    END AS balance_amount
  FROM truncated
)
SELECT
  loaded_at::TIMESTAMP, /* Time of the load (UTC) */
  is_deleted_flag::BOOLEAN, /* The key left the feed with this load */
  account_key::TEXT, /* Trimmed account id */
  @as_received(@account_columns, @account_descriptions, output_prefix := received_),
  TRY_CAST(customer_text AS BIGINT)::BIGINT AS customer_id, /* Customer id; NULL where it is not a number */
  balance_amount::DECIMAL(18, 2), /* Balance, rounded half up to cents */
  CASE
    WHEN @is_one_of(account_type, 'savings')
    THEN 'savings'
    WHEN @is_one_of(account_type, 'checking')
    THEN 'checking'
  END::TEXT AS account_type, /* savings or checking; NULL where it is neither */
  @attributes_received(@account_attributes, @account_attribute_descriptions),
  @all_reasons(
    CASE
      WHEN @is_absent(account_key)
      THEN 'account_id_missing'
      WHEN @holds_invisible(account_key)
      THEN 'account_id_invalid'
    END,
    CASE
      WHEN is_deleted_flag
      THEN NULL
      WHEN @is_absent(customer_id)
      THEN 'customer_id_missing'
      WHEN NOT @is_customer_id(customer_text)
      THEN 'customer_id_invalid'
    END,
    CASE
      WHEN is_deleted_flag
      THEN NULL
      WHEN @is_absent(balance)
      THEN 'balance_missing'
      WHEN balance_text IS NULL
      THEN 'balance_invalid'
      WHEN @has_form(balance_text, '-[0.]*[1-9][0-9.]*')
      THEN 'balance_negative'
      WHEN whole_digits_count > 16 OR balance_amount IS NULL
      THEN 'balance_too_large'
    END,
    CASE
      WHEN is_deleted_flag
      THEN NULL
      WHEN @is_absent(account_type)
      THEN 'account_type_missing'
      WHEN NOT @is_one_of(account_type, 'savings', 'checking')
      THEN 'account_type_invalid'
    END,
    CASE WHEN rows_for_key_count > 1 THEN 'conflicting_rows' END
  )::TEXT AS reasons /* Codes of all rules that the row breaks, in the order of the rules; empty for a valid row */
FROM rounded
