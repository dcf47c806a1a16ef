/* Valid customer rows, typed and cleaned. One row per customer and load that brought it, changed it or no longer held it. Answers: which customer data do we trust, since which load? */
MODEL (
  name staging.stg_customer,
  kind VIEW,
  physical_properties (
    'delta.columnMapping.mode' = NULL
  ),
  grain (customer_id, loaded_at),
  tags (staging, customer),
  ignored_rules (
    nomissingaudits
  )
);

SELECT
  customer_id::BIGINT, /* Customer id */
  customer_name::TEXT, /* Name, trimmed; NULL on a removal */
  has_loan_flag::BOOLEAN, /* Whether the customer has a loan; NULL on a removal */
  @attributes(@customer_attributes, @customer_attribute_descriptions),
  is_deleted_flag::BOOLEAN, /* The customer left the feed with this load */
  loaded_at::TIMESTAMP /* Time of the load (UTC) */
FROM staging.judged_customer
WHERE
  reasons = ''
