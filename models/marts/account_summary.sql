/* Balance and yearly interest of every savings account. One row per savings account whose customer is known. Answers: what does an account earn, and what will it hold in a year? */
MODEL (
  name marts.account_summary,
  kind INCREMENTAL_BY_UNIQUE_KEY (
    unique_key account_id,
    when_matched (
      WHEN MATCHED AND source.original_balance_amount IS NULL THEN DELETE
    )
  ),
  clustered_by account_id,
  depends_on (snapshots.snap_account, snapshots.snap_customer),
  grain (
    account_id
  ),
  references (
    customer_id
  ),
  tags (marts, export),
  audits (
    not_null(
      columns := (
        account_id,
        customer_id,
        original_balance_amount,
        interest_rate_pct,
        annual_interest_amount,
        new_balance_amount,
        calculated_at
      ),
      condition := calculated_at >= @start_ts
    ),
    unique_values(columns := (
      account_id
    )),
    not_negative("column" := original_balance_amount, condition := calculated_at >= @start_ts),
    accepted_range(
      "column" := interest_rate_pct,
      min_v := 0,
      max_v := 1,
      condition := calculated_at >= @start_ts
    ),
    forall(
      criteria := (
        annual_interest_amount = ROUND(original_balance_amount::DECIMAL(28, 2) * interest_rate_pct, 2),
        new_balance_amount = original_balance_amount::DECIMAL(19, 2) + annual_interest_amount
      ),
      condition := calculated_at >= @start_ts
    ),
    rate_follows_balance_and_loan,
    savings_reconcile_with_snapshots
  )
);

WITH latest AS (
  SELECT
    account_id,
    MAX(event_at) AS event_at
  FROM intermediate.int_savings_account_only
  WHERE
    event_at BETWEEN @start_ts AND @end_ts
  GROUP BY
    account_id
), tier AS (
  SELECT
    balance_from_amount,
    LEAD(balance_from_amount) OVER (ORDER BY balance_from_amount) AS balance_below_amount,
    interest_rate_pct,
    loan_bonus_pct
  FROM reference.interest_rate_tier
), rated AS (
  SELECT
    event.account_id,
    event.customer_id,
    CASE WHEN event.is_active_savings_flag THEN event.balance_amount END AS balance_amount, /* An account without a balance here is one that no longer belongs: the merge deletes it. */
    (
      tier.interest_rate_pct + CASE WHEN event.has_loan_flag THEN tier.loan_bonus_pct ELSE 0 END
    )::DECIMAL(6, 4) AS rate_pct,
    event.event_at
  FROM intermediate.int_savings_account_only AS event
  JOIN latest
    ON latest.account_id = event.account_id AND latest.event_at = event.event_at
  LEFT JOIN tier
    ON event.is_active_savings_flag
    AND event.balance_amount >= tier.balance_from_amount
    AND (
      tier.balance_below_amount IS NULL
      OR event.balance_amount < tier.balance_below_amount
    )
  WHERE
    event.event_at BETWEEN @start_ts AND @end_ts
), rates_changed AS (
  SELECT
    MAX(changed_at) AS changed_at
  FROM reference.rate_change
), earning AS (
  SELECT
    account_id,
    customer_id,
    balance_amount,
    rate_pct,
    ROUND(balance_amount::DECIMAL(28, 2) * rate_pct, 2) AS interest_amount, /* The product needs more digits than either factor's type. */
    event_at
  FROM rated
)
SELECT
  account_id::TEXT, /* Account id */
  customer_id::BIGINT, /* Customer that the account belongs to */
  balance_amount::DECIMAL(18, 2) AS original_balance_amount, /* Balance now */
  rate_pct::DECIMAL(6, 4) AS interest_rate_pct, /* Yearly rate, a fraction (0.0150 is 1.5 %) */
  interest_amount::DECIMAL(18, 2) AS annual_interest_amount, /* Interest of a year, rounded half up to cents */
  (
    balance_amount + interest_amount
  )::DECIMAL(19, 2) AS new_balance_amount, /* Balance in a year; one digit wider, for the largest balance plus its interest */
  GREATEST(event_at, COALESCE(rates_changed.changed_at, event_at))::TIMESTAMP AS calculated_at /* Load of the event that the row rests on, or the newest change of rates where that is later */
FROM earning
CROSS JOIN rates_changed
