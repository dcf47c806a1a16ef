select * from {{ ref('account_summary') }}
where annual_interest_amount <> round(cast(original_balance_amount as decimal(28, 2)) * interest_rate_pct, 2)
  or new_balance_amount <> cast(original_balance_amount as decimal(19, 2)) + annual_interest_amount
