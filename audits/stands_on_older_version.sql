AUDIT (
  name stands_on_older_version,
  blocking FALSE
);

/* Keys whose newest row is in quarantine (it came in the window) while an older version holds in their place. */
SELECT DISTINCT
  held.@key
FROM @this_model AS held
JOIN @quarantine AS newer
  ON newer.@received_key = held.@key::TEXT
  AND NOT newer.is_deleted_flag
  AND newer.loaded_at > held.valid_from_at
LEFT JOIN @valid AS latest
  ON latest.@key = held.@key AND latest.loaded_at > newer.loaded_at
WHERE
  held.valid_to_at IS NULL
  AND latest.loaded_at IS NULL
  AND newer.loaded_at BETWEEN @start_ts AND @end_ts
