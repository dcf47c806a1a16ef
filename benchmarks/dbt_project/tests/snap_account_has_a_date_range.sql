select * from {{ ref('snap_account') }} where dbt_valid_from is null or dbt_valid_to <= dbt_valid_from
