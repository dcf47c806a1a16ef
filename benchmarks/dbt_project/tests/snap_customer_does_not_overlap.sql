with version as (
  select
    dbt_valid_to,
    lead(dbt_valid_from) over (partition by customer_id order by dbt_valid_from) as next_from
  from {{ ref('snap_customer') }}
)

select * from version where next_from is not null and (dbt_valid_to is null or next_from < dbt_valid_to)
