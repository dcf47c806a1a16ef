with holding as (
  select
    customer_id,
    count(*) as accounts_count,
    sum(original_balance_amount) as balance_amount,
    sum(annual_interest_amount) as interest_amount
  from {{ ref('account_summary') }}
  group by customer_id
),

moment as (
  select customer_id, max(moment_at) as moment_at from {{ ref('int_savings_moment') }} group by customer_id
)

select
  holding.customer_id,
  customer.customer_name,
  customer.has_loan_flag,
  holding.accounts_count as total_accounts_count,
  cast(holding.balance_amount as decimal(28, 2)) as total_balance_amount,
  cast(holding.interest_amount as decimal(28, 2)) as total_annual_interest_amount,
  greatest(customer.dbt_valid_from, moment.moment_at) as calculated_at
from holding
join {{ ref('snap_customer') }} as customer
  on customer.customer_id = holding.customer_id and customer.dbt_valid_to is null
join moment on moment.customer_id = holding.customer_id
