/* When prod went over to other rates of interest. One row per change, the first rates included. Answers: which rates did prod hold, since when? */
MODEL (
  name reference.rate_change,
  kind VIEW,
  physical_properties (
    'delta.columnMapping.mode' = NULL
  ),
  grain (
    changed_at
  ),
  tags (
    reference
  ),
  audits (
    not_null(columns := (changed_at, rates)),
    unique_values(columns := (
      changed_at
    ))
  )
);

SELECT
  changed_at::TIMESTAMP, /* Just after the newest load of that time: what was calculated until then is from before the change */
  rates::TEXT /* The tiers of interest_rate_tier, as text */
FROM landing.rate_change
