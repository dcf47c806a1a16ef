AUDIT (
  name not_negative,
  defaults (
    condition = TRUE
  )
);

/* Zero is a balance: only values below it fail. */
SELECT
  *
FROM @this_model
WHERE
  @column < 0 AND @condition
