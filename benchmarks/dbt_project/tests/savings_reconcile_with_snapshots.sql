with expected as (
  select account.account_id, account.balance_amount
  from {{ ref('snap_account') }} as account
  join {{ ref('snap_customer') }} as customer
    on customer.customer_id = account.customer_id and customer.dbt_valid_to is null
  where account.dbt_valid_to is null and account.account_type = 'savings'
)

select account_id
from expected
full join {{ ref('account_summary') }} as summary using (account_id)
where expected.balance_amount is distinct from summary.original_balance_amount
