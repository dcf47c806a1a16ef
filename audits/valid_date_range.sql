AUDIT (
  name valid_date_range,
  defaults (
    condition = TRUE
  )
);

SELECT
  *
FROM @this_model
WHERE
  (
    @start_column IS NULL OR @end_column <= @start_column
  ) AND @condition
