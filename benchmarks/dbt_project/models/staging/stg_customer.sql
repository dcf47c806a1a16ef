with received as (
  select
    {{ cleaned('customer_id') }} as customer_key,
    first({{ cleaned('customer_name') }}) as name_text,
    first({{ cleaned('has_loan') }}) as loan_text,
    min(hash(customer_id, customer_name, has_loan)) <> max(hash(customer_id, customer_name, has_loan)) as has_conflict,
    first(loaded_at) as loaded_at
  from {{ ref('src_customer') }}
  group by all
),

typed as (
  select
    *,
    case when regexp_full_match(customer_key, '[1-9][0-9]{0,17}') then cast(customer_key as bigint) end as customer_id,
    case when {{ word('name_text') }} <> '' then {{ collapsed('name_text') }} end as customer_name,
    case when {{ word('loan_text') }} in ('yes', 'y', 'true', '1') then true
      when {{ word('loan_text') }} in ('no', 'n', 'false', '0', '') then false end as has_loan_flag
  from received
)

select
  customer_key,
  customer_id,
  customer_name,
  has_loan_flag,
  loaded_at,
  concat_ws(
    ', ',
    case when customer_id is null
      then case when {{ word('customer_key') }} = '' then 'customer_id_missing' else 'customer_id_invalid' end end,
    case when customer_name is null then 'customer_name_missing' end,
    case when has_loan_flag is null then 'has_loan_invalid' end,
    case when has_conflict then 'conflicting_rows' end
  ) as reasons
from typed
