{# Unicode's White_Space property, as the characters that TRIM takes away. #}
{% macro white_space() -%}
  chr(9) || chr(10) || chr(11) || chr(12) || chr(13) || ' ' || chr(133) || chr(160) || chr(5760) || chr(8192)
  || chr(8193) || chr(8194) || chr(8195) || chr(8196) || chr(8197) || chr(8198) || chr(8199) || chr(8200) || chr(8201)
  || chr(8202) || chr(8232) || chr(8233) || chr(8239) || chr(8287) || chr(12288)
{%- endmacro %}

{% macro cleaned(text) -%} trim({{ text }}, {{ white_space() }}) {%- endmacro %}

{# A cleaned text in lower case, in which words are compared; '' where it stands for no value. #}
{% macro word(text) -%}
  case when {{ text }} is null or lower({{ text }}) in ('null', 'n/a', 'none') then '' else lower({{ text }}) end
{%- endmacro %}

{% macro collapsed(text) -%}
  case when regexp_matches({{ text }}, '  |[^ -~]|[\t-\r]')
    then regexp_replace({{ text }}, '[\t-\r \x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000}]+', ' ', 'g')
    else {{ text }} end
{%- endmacro %}
