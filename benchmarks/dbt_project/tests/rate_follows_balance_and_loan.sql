select summary.account_id
from {{ ref('account_summary') }} as summary
join {{ ref('int_savings_account_only') }} as account on account.account_id = summary.account_id
asof join {{ ref('interest_rate_tier') }} as tier on tier.balance_from_amount <= summary.original_balance_amount
where summary.interest_rate_pct
  <> tier.interest_rate_pct + case when account.has_loan_flag then tier.loan_bonus_pct else 0 end
