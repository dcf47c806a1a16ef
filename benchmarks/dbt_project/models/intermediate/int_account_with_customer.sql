-- Accounts as they stand, each with its customer; event_at is the later of both versions' begin.
select
  account.account_id,
  account.customer_id,
  account.balance_amount,
  account.account_type,
  customer.customer_name,
  customer.has_loan_flag,
  customer.customer_id is not null as is_customer_known_flag,
  greatest(account.dbt_valid_from, coalesce(customer.dbt_valid_from, account.dbt_valid_from)) as event_at
from {{ ref('snap_account') }} as account
left join {{ ref('snap_customer') }} as customer
  on customer.customer_id = account.customer_id and customer.dbt_valid_to is null
where account.dbt_valid_to is null
