/* The events that matter to savings accounts. One row per account and moment at which it was, became or ceased to be a savings account. Answers: which accounts earn interest, from when? */
MODEL (
  name intermediate.int_savings_account_only,
  kind INCREMENTAL_BY_TIME_RANGE (
    time_column event_at,
    partition_by_time_column FALSE
  ),
  clustered_by event_at,
  grain (account_id, event_at),
  references (
    customer_id
  ),
  tags (intermediate, account, customer),
  audits (
    not_null(
      columns := (
        account_id,
        customer_id,
        balance_amount,
        account_type,
        event_status,
        is_active_savings_flag,
        event_at
      )
    ),
    unique_combination_of_columns(columns := (account_id, event_at)),
    accepted_values(
      "column" := event_status,
      is_in := ('active', 'account_gone', 'customer_unknown', 'customer_gone')
    ),
    not_negative("column" := balance_amount),
    forall(
      criteria := (
        account_type = 'savings' OR COALESCE(previous_account_type = 'savings', FALSE),
        NOT is_active_savings_flag
        OR (
          NOT customer_name IS NULL AND NOT has_loan_flag IS NULL
        )
      )
    )
  )
);

SELECT
  account_id::TEXT, /* Account id */
  customer_id::BIGINT, /* Customer that the account belongs to */
  balance_amount::DECIMAL(18, 2), /* Balance */
  account_type::TEXT, /* savings, or checking on the event that took it out of savings */
  @attributes(@account_attributes, @account_attribute_descriptions),
  customer_name::TEXT, /* Name of the customer; NULL while the customer is not known */
  has_loan_flag::BOOLEAN, /* Whether the customer has a loan; NULL while the customer is not known */
  @attributes(@customer_attributes, @customer_attribute_descriptions),
  previous_customer_id::BIGINT, /* Owner before, where the event replaced a version of the account */
  previous_account_type::TEXT, /* Type before, where the event replaced a version of the account */
  event_status::TEXT, /* active, account_gone, customer_unknown or customer_gone */
  (
    event_status = 'active' AND account_type = 'savings'
  )::BOOLEAN AS is_active_savings_flag, /* From this event on the account is in the marts */
  event_at::TIMESTAMP /* Load that brought the event */
FROM intermediate.int_account_with_customer
WHERE
  (
    account_type = 'savings' OR previous_account_type = 'savings'
  )
  AND event_at BETWEEN @start_ts AND @end_ts
