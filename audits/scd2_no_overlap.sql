AUDIT (
  name scd2_no_overlap
);

/* Of the keys that changed in the window: no version begins before the one before it ended, and only the last is open. */
WITH changed AS (
  SELECT DISTINCT
    @key AS changed_key
  FROM @this_model
  WHERE
    @version_changed_in_window()
), version AS (
  SELECT
    @key AS version_key,
    valid_from_at,
    valid_to_at,
    LEAD(valid_from_at) OVER (PARTITION BY @key ORDER BY valid_from_at, valid_to_at) AS next_from_at
  FROM @this_model
  WHERE
    @key IN (
      SELECT
        changed_key
      FROM changed
    )
)
SELECT
  *
FROM version
WHERE
  NOT next_from_at IS NULL
  AND (
    valid_to_at IS NULL OR next_from_at < valid_to_at
  )
