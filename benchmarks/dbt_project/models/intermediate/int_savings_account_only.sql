{{ config(materialized='table') }}

select * exclude (is_customer_known_flag)
from {{ ref('int_account_with_customer') }}
where account_type = 'savings' and is_customer_known_flag
