{# Both marts as CSV and Parquet in the order of their keys, where nothing failed. #}
{% macro export_marts() %}
  {% if execute and not results | map(attribute='status') | select('in', ['error', 'fail', 'skipped']) | list %}
    {% for mart, key in (('account_summary', 'account_id'), ('customer_profile', 'customer_id')) %}
      {% set rows = 'from marts.' ~ mart ~ ' order by ' ~ key %}
      {% set path = env_var('BENCH_OUTPUTS') ~ '/' ~ mart %}
      {% do run_query("copy (" ~ rows ~ ") to '" ~ path ~ ".parquet' (format parquet, compression zstd)") %}
      {% do run_query("copy (" ~ rows ~ ") to '" ~ path ~ ".csv' (format csv, header true)") %}
    {% endfor %}
  {% endif %}
{% endmacro %}
