/* Account rows that break a rule, as received, with every reason. One row per load and row that broke one. Answers: what was kept out of the marts, and why? */
MODEL (
  name staging.quarantine_account,
  kind VIEW,
  physical_properties (
    'delta.columnMapping.mode' = NULL
  ),
  grain (loaded_at, account_key, account_id, customer_id, balance, account_type),
  tags (staging, quarantine, account),
  ignored_rules (
    nomissingaudits
  )
);

SELECT
  account_key::TEXT, /* Trimmed account id */
  received_account_id::TEXT AS account_id, /* Account id as received */
  received_customer_id::TEXT AS customer_id, /* Customer id as received */
  received_balance::TEXT AS balance, /* Balance as received */
  received_account_type::TEXT AS account_type, /* Account type as received */
  is_deleted_flag::BOOLEAN, /* The key left the feed with this load */
  reasons::TEXT, /* Codes of all rules that the row breaks */
  loaded_at::TIMESTAMP /* Time of the load (UTC) */
FROM staging.judged_account
WHERE
  reasons <> ''
