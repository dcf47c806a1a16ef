{# Deletions, too, are dated by the load: dbt would date them by the run. #}
{% macro snapshot_get_time() -%} {{ loaded_at() }} {%- endmacro %}

{% macro loaded_at() -%} cast('{{ env_var("BENCH_LOADED_AT") }}' as timestamp) {%- endmacro %}
