{% snapshot snap_customer %}
  {{ config(unique_key='customer_id', check_cols=['customer_name', 'has_loan_flag']) }}

  select customer_id, customer_name, has_loan_flag, loaded_at
  from {{ ref('stg_customer') }}
  where reasons = ''
  {% if load_relation(this) %}
    {# A customer whose row breaks a rule keeps its last valid version. #}
    union all
    select customer_id, customer_name, has_loan_flag, loaded_at
    from {{ this }}
    where dbt_valid_to is null and customer_id in (select customer_id from {{ ref('stg_customer') }} where reasons <> '')
  {% endif %}
{% endsnapshot %}
