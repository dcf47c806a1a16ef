AUDIT (
  name profile_totals_equal_accounts
);

/* Of the customers with an event, an account or a profile of the window: totals equal the sum of the accounts, and there
   is a profile exactly where there is an account. After a change of rates the events alone tell which those are. */
WITH changed AS (
  SELECT
    customer_id
  FROM @this_model AS profile
  WHERE
    calculated_at BETWEEN @start_ts AND @end_ts
  UNION
  SELECT
    customer_id
  FROM marts.account_summary
  WHERE
    calculated_at BETWEEN @start_ts AND @end_ts
  UNION
  SELECT
    customer_id
  FROM intermediate.int_savings_account_only
  WHERE
    event_at BETWEEN @start_ts AND @end_ts
  UNION
  SELECT
    previous_customer_id AS customer_id
  FROM intermediate.int_savings_account_only
  WHERE
    NOT previous_customer_id IS NULL AND event_at BETWEEN @start_ts AND @end_ts
), total AS (
  SELECT
    account.customer_id,
    COUNT(*) AS accounts_count,
    SUM(account.original_balance_amount) AS balance_amount,
    SUM(account.annual_interest_amount) AS annual_interest_amount
  FROM marts.account_summary AS account
  JOIN changed
    ON changed.customer_id = account.customer_id
  GROUP BY
    account.customer_id
)
SELECT
  changed.customer_id,
  total.accounts_count,
  profile.total_accounts_count,
  total.balance_amount,
  profile.total_balance_amount
FROM changed
LEFT JOIN total
  ON total.customer_id = changed.customer_id
LEFT JOIN @this_model AS profile
  ON profile.customer_id = changed.customer_id
WHERE
  total.accounts_count IS DISTINCT FROM profile.total_accounts_count
  OR total.balance_amount IS DISTINCT FROM profile.total_balance_amount
  OR total.annual_interest_amount IS DISTINCT FROM profile.total_annual_interest_amount
