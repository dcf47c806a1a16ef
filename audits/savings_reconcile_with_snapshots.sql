AUDIT (
  name savings_reconcile_with_snapshots
);

/* Of the accounts that changed in the window, or whose customer did: the mart holds exactly those that the snapshots call
   for (open, savings, customer open at its end), with their owner and balance. */
WITH changed AS (
  SELECT
    account_id
  FROM snapshots.snap_account
  WHERE
    @version_changed_in_window()
  UNION
  SELECT
    account.account_id
  FROM snapshots.snap_account AS account
  JOIN snapshots.snap_customer AS customer
    ON customer.customer_id = account.customer_id
  WHERE
    @holds_at(account, @end_ts)
    AND (
      customer.valid_from_at BETWEEN @start_ts AND @end_ts
      OR customer.valid_to_at BETWEEN @start_ts AND @end_ts
    )
), expected AS (
  SELECT
    account.account_id,
    account.customer_id,
    account.balance_amount
  FROM snapshots.snap_account AS account
  JOIN snapshots.snap_customer AS customer
    ON customer.customer_id = account.customer_id AND @holds_at(customer, @end_ts)
  WHERE
    @holds_at(account, @end_ts) AND account.account_type = 'savings'
)
SELECT
  changed.account_id,
  expected.balance_amount AS expected_balance_amount,
  actual.original_balance_amount
FROM changed
LEFT JOIN expected
  ON expected.account_id = changed.account_id
LEFT JOIN @this_model AS actual
  ON actual.account_id = changed.account_id
WHERE
  expected.balance_amount IS DISTINCT FROM actual.original_balance_amount
  OR expected.customer_id IS DISTINCT FROM actual.customer_id
