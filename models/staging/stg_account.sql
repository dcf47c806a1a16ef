/* Valid account rows, typed and cleaned. One row per account and load that brought it, changed it or no longer held it. Answers: which account data do we trust, since which load? */
MODEL (
  name staging.stg_account,
  kind VIEW,
  physical_properties (
    'delta.columnMapping.mode' = NULL
  ),
  grain (account_id, loaded_at),
  references (
    customer_id
  ),
  tags (staging, account),
  ignored_rules (
    nomissingaudits
  )
);

SELECT
  account_key::TEXT AS account_id, /* Account id */
  customer_id::BIGINT, /* Customer that the account belongs to; NULL on a removal */
  balance_amount::DECIMAL(18, 2), /* Balance; NULL on a removal */
  account_type::TEXT, /* savings or checking; NULL on a removal */
  @attributes(@account_attributes, @account_attribute_descriptions),
  is_deleted_flag::BOOLEAN, /* The account left the feed with this load */
  loaded_at::TIMESTAMP /* Time of the load (UTC) */
FROM staging.judged_account
WHERE
  reasons = ''
