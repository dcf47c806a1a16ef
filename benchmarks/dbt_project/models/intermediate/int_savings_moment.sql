-- The moments at which a customer got or lost a savings account, or one of theirs changed.
with version as (
  select account_id, customer_id, account_type, dbt_valid_from, dbt_valid_to from {{ ref('snap_account') }}
),

switched as (
  select version.customer_id, previous.customer_id as previous_customer_id, version.dbt_valid_from as moment_at
  from version
  join version as previous
    on previous.account_id = version.account_id and previous.dbt_valid_to = version.dbt_valid_from
  where version.account_type <> previous.account_type
)

select customer_id, dbt_valid_from as moment_at from version where account_type = 'savings'
union all
select customer_id, dbt_valid_to from version where account_type = 'savings' and dbt_valid_to is not null
union all
select customer_id, moment_at from switched
union all
select previous_customer_id, moment_at from switched
