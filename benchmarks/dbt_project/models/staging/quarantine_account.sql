{{ config(materialized='view') }}

select * from {{ ref('stg_account') }} where reasons <> ''
