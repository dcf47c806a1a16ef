{{ config(materialized='view') }}

select * from {{ ref('stg_customer') }} where reasons <> ''
