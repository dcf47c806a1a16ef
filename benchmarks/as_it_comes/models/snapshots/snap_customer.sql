/* History of the customers. One row per customer and version: what held from valid_from_at until before valid_to_at. Answers: what did we know of a customer on a day? */
MODEL (
  name snapshots.snap_customer,
  kind VIEW,
  grain (customer_id, valid_from_at),
  tags (snapshots, customer),
  ignored_rules (nomissingaudits, nomissingunittest, readslayerbefore)
);

SELECT
  version.customer_id::BIGINT, /* Customer id */
  version.customer_name::TEXT, /* Name */
  version.has_loan_flag::BOOLEAN, /* Whether the customer has a loan */
  @attributes(@customer_attributes, @customer_attribute_descriptions, version),
  (
    NOT removal.customer_id IS NULL
  )::BOOLEAN AS is_deleted_flag, /* The version ended because the customer left the feed */
  version.loaded_at::TIMESTAMP, /* Load that opened the version */
  version.valid_from_at::TIMESTAMP, /* Begin of the version */
  version.valid_to_at::TIMESTAMP /* End of the version, NULL while it is open */
FROM snapshots.snap_customer_event AS version
LEFT JOIN snapshots.snap_customer_event AS removal
  ON removal.customer_id = version.customer_id
  AND removal.valid_from_at = version.valid_to_at
  AND removal.is_deleted_flag
WHERE
  NOT version.is_deleted_flag
