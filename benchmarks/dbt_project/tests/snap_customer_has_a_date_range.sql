select * from {{ ref('snap_customer') }} where dbt_valid_from is null or dbt_valid_to <= dbt_valid_from
