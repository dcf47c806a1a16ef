{% snapshot snap_account %}
  {{ config(unique_key='account_id', check_cols=['customer_id', 'balance_amount', 'account_type']) }}

  select account_id, customer_id, balance_amount, account_type, loaded_at
  from {{ ref('stg_account') }}
  where reasons = ''
  {% if load_relation(this) %}
    {# An account whose row breaks a rule keeps its last valid version. #}
    union all
    select account_id, customer_id, balance_amount, account_type, loaded_at
    from {{ this }}
    where dbt_valid_to is null and account_id in (select account_id from {{ ref('stg_account') }} where reasons <> '')
  {% endif %}
{% endsnapshot %}
