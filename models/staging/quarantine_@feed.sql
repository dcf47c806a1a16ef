/* Rows of a feed that break a rule, as received, with every reason. One row per load and row that broke one. Answers: what was kept out of the marts, and why? */
MODEL (
  name staging.quarantine_@feed,
  blueprints @feeds(),
  kind VIEW,
  physical_properties (
    'delta.columnMapping.mode' = NULL
  ),
  grain @whole_row,
  tags (staging, quarantine, @feed),
  ignored_rules (nomissingaudits, nomissingunittest)
);

SELECT
  @key::TEXT, /* Trimmed key */
  @as_received(@columns, @descriptions, source_prefix := received_),
  is_deleted_flag::BOOLEAN, /* The key left the feed with this load */
  reasons::TEXT, /* Codes of all rules that the row breaks */
  loaded_at::TIMESTAMP /* Time of the load (UTC) */
FROM staging.judged_@{feed}
WHERE
  reasons <> ''
