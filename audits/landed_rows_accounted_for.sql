AUDIT (
  name landed_rows_accounted_for
);

/* Of every load in the window: as many rows judged as landed. */
WITH counted AS (
  SELECT
    loaded_at,
    COUNT(*) AS row_balance
  FROM @landed
  WHERE
    loaded_at BETWEEN @start_ts AND @end_ts
  GROUP BY
    loaded_at
  UNION ALL
  SELECT
    loaded_at,
    -COUNT(*) AS row_balance
  FROM @this_model AS judged
  GROUP BY
    loaded_at
)
SELECT
  loaded_at,
  SUM(row_balance) AS missing_row_count
FROM counted
GROUP BY
  loaded_at
HAVING
  SUM(row_balance) <> 0
