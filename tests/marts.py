"""The exported marts as whoever reads the files relies on them: names, keys, columns and types."""

from __future__ import annotations

from scripts.outputs.export import MANIFEST_NAME
from scripts.outputs.marts import Mart

MARTS = (
    Mart(
        "account_summary",
        "account_id",
        (
            ("account_id", "VARCHAR"),
            ("customer_id", "BIGINT"),
            ("original_balance_amount", "DECIMAL(18,2)"),
            ("interest_rate_pct", "DECIMAL(6,4)"),
            ("annual_interest_amount", "DECIMAL(18,2)"),
            ("new_balance_amount", "DECIMAL(19,2)"),
            ("calculated_at", "TIMESTAMP"),
        ),
    ),
    Mart(
        "customer_profile",
        "customer_id",
        (
            ("customer_id", "BIGINT"),
            ("customer_name", "VARCHAR"),
            ("has_loan_flag", "BOOLEAN"),
            ("total_accounts_count", "BIGINT"),
            ("total_balance_amount", "DECIMAL(28,2)"),
            ("total_annual_interest_amount", "DECIMAL(28,2)"),
            ("calculated_at", "TIMESTAMP"),
        ),
    ),
)
MART_FILES = ("account_summary.parquet", "account_summary.csv", "customer_profile.parquet", "customer_profile.csv")
OUTPUTS = (*MART_FILES, MANIFEST_NAME)
