{# A class of all characters of Unicode's White_Space property. #}
{% macro white_space() -%}
  [\t-\r \x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000}]
{%- endmacro %}

{# A text without white space around it; only what has some is trimmed, for that is slow. #}
{% macro cleaned(text) -%}
  case when regexp_matches({{ text }}, '^{{ white_space() }}|{{ white_space() }}$')
    then regexp_replace({{ text }}, '^{{ white_space() }}+|{{ white_space() }}+$', '', 'g') else {{ text }} end
{%- endmacro %}

{# A cleaned text with single spaces within. #}
{% macro collapsed(text) -%}
  case when regexp_matches({{ text }}, '  |[^ -~]')
    then regexp_replace({{ text }}, '{{ white_space() }}+', ' ', 'g') else {{ text }} end
{%- endmacro %}

{# A cleaned text in lower case, in which words are compared; '' where it stands for no value. #}
{% macro word(text) -%}
  case when lower({{ text }}) in ('null', 'n/a', 'none') then '' else lower({{ text }}) end
{%- endmacro %}
