AUDIT (
  name rate_follows_balance_and_loan
);

/* The rate is that of the highest tier that the balance reaches, plus the bonus where the customer has a loan. */
WITH event AS (
  SELECT
    account_id,
    ARG_MAX(has_loan_flag, event_at) AS has_loan_flag
  FROM intermediate.int_savings_account_only
  WHERE
    event_at BETWEEN @start_ts AND @end_ts
  GROUP BY
    account_id
), reached AS (
  SELECT
    account.account_id,
    account.interest_rate_pct,
    event.has_loan_flag,
    MAX(tier.balance_from_amount) AS balance_from_amount
  FROM @this_model AS account
  JOIN event
    ON event.account_id = account.account_id
  LEFT JOIN reference.interest_rate_tier AS tier
    ON tier.balance_from_amount <= account.original_balance_amount
  GROUP BY
    account.account_id,
    account.interest_rate_pct,
    event.has_loan_flag
)
SELECT
  reached.account_id,
  reached.interest_rate_pct,
  tier.interest_rate_pct AS tier_rate_pct,
  reached.has_loan_flag
FROM reached
LEFT JOIN reference.interest_rate_tier AS tier
  ON tier.balance_from_amount = reached.balance_from_amount
WHERE
  tier.interest_rate_pct IS NULL
  OR reached.interest_rate_pct <> tier.interest_rate_pct + CASE WHEN reached.has_loan_flag THEN tier.loan_bonus_pct ELSE 0 END
