with tier as (
  select *, lead(balance_from_amount) over (order by balance_from_amount) as balance_below_amount
  from {{ ref('interest_rate_tier') }}
),

rated as (
  select
    account.*,
    cast(
      tier.interest_rate_pct + case when account.has_loan_flag then tier.loan_bonus_pct else 0 end as decimal(6, 4)
    ) as rate_pct
  from {{ ref('int_savings_account_only') }} as account
  left join tier
    on account.balance_amount >= tier.balance_from_amount
    and (tier.balance_below_amount is null or account.balance_amount < tier.balance_below_amount)
),

earning as (
  select *, round(cast(balance_amount as decimal(28, 2)) * rate_pct, 2) as interest_amount from rated
)

select
  account_id,
  customer_id,
  balance_amount as original_balance_amount,
  rate_pct as interest_rate_pct,
  cast(interest_amount as decimal(18, 2)) as annual_interest_amount,
  cast(balance_amount + interest_amount as decimal(19, 2)) as new_balance_amount,
  event_at as calculated_at
from earning
