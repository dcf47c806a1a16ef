/* What a customer holds in savings and earns in a year. One row per customer with at least one row in account_summary. Answers: who are our savers, and what do we owe them in interest? */
MODEL (
  name marts.customer_profile,
  kind INCREMENTAL_BY_UNIQUE_KEY (
    unique_key customer_id,
    when_matched (
      WHEN MATCHED AND source.total_accounts_count = 0 THEN DELETE
    )
  ),
  clustered_by customer_id,
  grain (
    customer_id
  ),
  tags (marts, export),
  audits (
    not_null(
      columns := (
        customer_id,
        customer_name,
        has_loan_flag,
        total_accounts_count,
        total_balance_amount,
        total_annual_interest_amount,
        calculated_at
      ),
      condition := calculated_at >= @start_ts
    ),
    unique_values(columns := (
      customer_id
    )),
    accepted_range(
      "column" := total_accounts_count,
      min_v := 1,
      condition := calculated_at >= @start_ts
    ),
    not_negative("column" := total_balance_amount, condition := calculated_at >= @start_ts),
    profile_totals_equal_accounts
  )
);

WITH touched AS (
  SELECT
    customer_id,
    MAX(event_at) AS event_at
  FROM (
    SELECT
      customer_id,
      event_at
    FROM intermediate.int_savings_account_only
    WHERE
      event_at BETWEEN @start_ts AND @end_ts
    UNION ALL
    SELECT
      previous_customer_id AS customer_id,
      event_at
    FROM intermediate.int_savings_account_only
    WHERE
      NOT previous_customer_id IS NULL AND event_at BETWEEN @start_ts AND @end_ts
  ) AS holder
  GROUP BY
    customer_id
), owner AS (
  SELECT
    event.customer_id,
    ARG_MAX(event.customer_name, event.event_at) AS customer_name,
    ARG_MAX(event.has_loan_flag, event.event_at) AS has_loan_flag
  FROM intermediate.int_savings_account_only AS event
  JOIN touched
    ON touched.customer_id = event.customer_id
  WHERE
    event.is_active_savings_flag
  GROUP BY
    event.customer_id
), holding AS (
  SELECT
    account.customer_id,
    COUNT(*) AS accounts_count,
    SUM(account.original_balance_amount) AS balance_amount,
    SUM(account.annual_interest_amount) AS interest_amount
  FROM marts.account_summary AS account
  JOIN touched
    ON touched.customer_id = account.customer_id
  GROUP BY
    account.customer_id
), rates_changed AS (
  SELECT
    MAX(changed_at) AS changed_at
  FROM reference.rate_change
)
SELECT
  touched.customer_id::BIGINT, /* Customer id */
  owner.customer_name::TEXT, /* Name */
  owner.has_loan_flag::BOOLEAN, /* Whether the customer has a loan */
  COALESCE(holding.accounts_count, 0)::BIGINT AS total_accounts_count, /* Savings accounts held */
  holding.balance_amount::DECIMAL(28, 2) AS total_balance_amount, /* Sum of their balances */
  holding.interest_amount::DECIMAL(28, 2) AS total_annual_interest_amount, /* Sum of their yearly interest */
  GREATEST(touched.event_at, COALESCE(rates_changed.changed_at, touched.event_at))::TIMESTAMP AS calculated_at /* Load of the latest savings event of the customer, or the newest change of rates where that is later */
FROM touched
LEFT JOIN owner
  ON owner.customer_id = touched.customer_id
LEFT JOIN holding
  ON holding.customer_id = touched.customer_id
CROSS JOIN rates_changed
