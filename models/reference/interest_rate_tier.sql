/* Interest rates by balance. One row per tier: it holds from its balance (inclusive) up to the next tier's. Answers: what does a balance earn in a year? */
MODEL (
  name reference.interest_rate_tier,
  kind SEED (
    path '../../seeds/interest_rate_tier.csv'
  ),
  columns (
    balance_from_amount DECIMAL(18, 2),
    interest_rate_pct DECIMAL(6, 4),
    loan_bonus_pct DECIMAL(6, 4)
  ),
  column_descriptions (
    balance_from_amount = 'Lowest balance of the tier (inclusive)',
    interest_rate_pct = 'Yearly rate of the tier, a fraction (0.0150 is 1.5 %)',
    loan_bonus_pct = 'Added to the rate where the customer has a loan, a fraction'
  ),
  grain (
    balance_from_amount
  ),
  tags (
    reference
  ),
  ignored_rules (
    nomissingunittest
  ),
  audits (
    not_null(columns := (balance_from_amount, interest_rate_pct, loan_bonus_pct)),
    unique_values(columns := (
      balance_from_amount
    )),
    accepted_range("column" := interest_rate_pct, min_v := 0, max_v := 1),
    accepted_range("column" := loan_bonus_pct, min_v := 0, max_v := 1)
  )
)
