with received as (
  select
    {{ cleaned('account_id') }} as account_id,
    first({{ cleaned('customer_id') }}) as customer_text,
    first({{ cleaned('balance') }}) as balance_text,
    first({{ cleaned('account_type') }}) as type_text,
    min(hash(account_id, customer_id, balance, account_type))
      <> max(hash(account_id, customer_id, balance, account_type)) as has_conflict,
    first(loaded_at) as loaded_at
  from {{ ref('src_account') }}
  group by all
),

typed as (
  select
    *,
    case when regexp_full_match(customer_text, '[1-9][0-9]{0,17}') then cast(customer_text as bigint) end
      as customer_id,
    case when regexp_full_match(balance_text, '[+]?[0-9]+([.][0-9]+)?|-0+([.]0+)?')
      then try_cast(balance_text as decimal(18, 2)) end as balance_amount,
    case when lower(type_text) in ('savings', 'checking') then lower(type_text) end as account_type
  from received
)

select
  account_id,
  customer_id,
  balance_amount,
  account_type,
  loaded_at,
  concat_ws(
    ', ',
    case when {{ word('account_id') }} = '' then 'account_id_missing'
      when regexp_matches(account_id, '[^ -~]') and regexp_matches(account_id, '[\p{C}\p{Zl}\p{Zp}]')
        then 'account_id_invalid' end,
    case when customer_id is null
      then case when {{ word('customer_text') }} = '' then 'customer_id_missing' else 'customer_id_invalid' end end,
    case when balance_amount is null then case
      when {{ word('balance_text') }} = '' then 'balance_missing'
      when not regexp_full_match(balance_text, '[+-]?[0-9]+([.][0-9]+)?') then 'balance_invalid'
      when balance_text like '-%' then 'balance_negative'
      else 'balance_too_large' end end,
    case when account_type is null
      then case when {{ word('type_text') }} = '' then 'account_type_missing' else 'account_type_invalid' end end,
    case when has_conflict then 'conflicting_rows' end
  ) as reasons
from typed
