/* The change log of a feed as received. One row per load and row that was new, changed or gone in it. Answers: what did the file say, and when? */
MODEL (
  name source.src_@feed,
  blueprints @feeds(),
  kind VIEW,
  physical_properties (
    'delta.columnMapping.mode' = NULL
  ),
  grain @whole_row,
  tags (source, @feed),
  ignored_rules (
    nomissingunittest
  ),
  audits (
    not_null(columns := (loaded_at, @key)),
    accepted_values("column" := change_type, is_in := ('new', 'changed', 'gone'))
  )
);

SELECT
  loaded_at::TIMESTAMP, /* Time of the load (UTC) */
  change_type::TEXT, /* new, changed or gone, against what was known before the load */
  @key::TEXT, /* Trimmed key: identifies the row from load to load */
  rows_for_key_count::BIGINT, /* Different rows that the file held for this key; more than one is a conflict, none is a removal */
  @as_received(@columns, @descriptions)
FROM landing.@{feed}
WHERE
  loaded_at IN (
    SELECT
      loaded_at
    FROM landing.load
    WHERE
      feed = @feed_text
  )
