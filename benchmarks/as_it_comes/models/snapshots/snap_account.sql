/* History of the accounts. One row per account and version: what held from valid_from_at until before valid_to_at. Answers: what did we know of an account on a day? */
MODEL (
  name snapshots.snap_account,
  kind VIEW,
  grain (account_id, valid_from_at),
  tags (snapshots, account),
  ignored_rules (nomissingaudits, nomissingunittest, readslayerbefore)
);

SELECT
  version.account_id::TEXT, /* Account id */
  version.customer_id::BIGINT, /* Customer that the account belongs to */
  version.balance_amount::DECIMAL(18, 2), /* Balance */
  version.account_type::TEXT, /* savings or checking */
  @attributes(@account_attributes, @account_attribute_descriptions, version),
  (
    NOT removal.account_id IS NULL
  )::BOOLEAN AS is_deleted_flag, /* The version ended because the account left the feed */
  version.loaded_at::TIMESTAMP, /* Load that opened the version */
  version.valid_from_at::TIMESTAMP, /* Begin of the version */
  version.valid_to_at::TIMESTAMP /* End of the version, NULL while it is open */
FROM snapshots.snap_account_event AS version
LEFT JOIN snapshots.snap_account_event AS removal
  ON removal.account_id = version.account_id
  AND removal.valid_from_at = version.valid_to_at
  AND removal.is_deleted_flag
WHERE
  NOT version.is_deleted_flag
