AUDIT (
  name landed_rows_accounted_for
);

/* Of every load in the window: rows landed = rows in staging + rows in quarantine. */
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
  FROM @valid
  WHERE
    loaded_at BETWEEN @start_ts AND @end_ts
  GROUP BY
    loaded_at
  UNION ALL
  SELECT
    loaded_at,
    -COUNT(*) AS row_balance
  FROM @this_model AS quarantined
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
