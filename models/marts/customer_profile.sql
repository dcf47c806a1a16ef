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
      condition := calculated_at BETWEEN @start_ts AND @end_ts
    ),
    unique_values(columns := (
      customer_id
    )),
    accepted_range(
      "column" := total_accounts_count,
      min_v := 1,
      condition := calculated_at BETWEEN @start_ts AND @end_ts
    ),
    positive_value(
      "column" := total_balance_amount,
      condition := calculated_at BETWEEN @start_ts AND @end_ts
    ),
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
  ) AS owner
  GROUP BY
    customer_id
), holding AS (
  SELECT
    account.customer_id,
    account.original_balance_amount,
    account.annual_interest_amount,
    event.customer_name,
    event.has_loan_flag
  FROM marts.account_summary AS account
  JOIN touched
    ON touched.customer_id = account.customer_id
  JOIN intermediate.int_savings_account_only AS event
    ON event.account_id = account.account_id AND event.event_at = account.calculated_at
)
SELECT
  touched.customer_id::BIGINT, /* Customer id */
  MAX(holding.customer_name)::TEXT AS customer_name, /* Name */
  MAX(holding.has_loan_flag)::BOOLEAN AS has_loan_flag, /* Whether the customer has a loan */
  COUNT(holding.customer_id)::BIGINT AS total_accounts_count, /* Savings accounts held */
  SUM(holding.original_balance_amount)::DECIMAL(28, 2) AS total_balance_amount, /* Sum of their balances */
  SUM(holding.annual_interest_amount)::DECIMAL(28, 2) AS total_annual_interest_amount, /* Sum of their yearly interest */
  MAX(touched.event_at)::TIMESTAMP AS calculated_at /* Load of the latest savings event of the customer */
FROM touched
LEFT JOIN holding
  ON holding.customer_id = touched.customer_id
GROUP BY
  touched.customer_id
