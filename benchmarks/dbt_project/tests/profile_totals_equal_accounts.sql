with total as (
  select customer_id, sum(original_balance_amount) as balance, sum(annual_interest_amount) as interest
  from {{ ref('account_summary') }}
  group by customer_id
)

select customer_id
from total
full join {{ ref('customer_profile') }} as profile using (customer_id)
where total.balance is distinct from profile.total_balance_amount
  or total.interest is distinct from profile.total_annual_interest_amount
