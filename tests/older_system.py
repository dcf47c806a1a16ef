"""What the older system's dbt project leaves in a database: names, columns and types as dbt-core 1.11 makes them.

Its sources are tables that its ingest wrote, its staging models views, its snapshots of strategy `timestamp` on
`loaded_at`, its other models incremental ones; sources, staging and intermediate models are in dbt's target schema.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb

from scripts.sql import text_literal

OF_OTHERS = "marts.account_summary, marts.customer_profile, snapshots.snap_account, snapshots.snap_customer"

_VERSION = "dbt_scd_id VARCHAR, dbt_updated_at TIMESTAMP, dbt_valid_from TIMESTAMP, dbt_valid_to TIMESTAMP"
_EVENT = (
    "account_id VARCHAR, customer_id BIGINT, customer_name VARCHAR, has_loan_flag BOOLEAN, "
    "balance_amount DECIMAL(18, 2), account_type VARCHAR, valid_from_at TIMESTAMP, valid_to_at TIMESTAMP"
)
_TABLES = {
    "src_customer": "CustomerID VARCHAR, Name VARCHAR, HasLoan VARCHAR, loaded_at TIMESTAMP",
    "src_account": "AccountID VARCHAR, CustomerID VARCHAR, Balance VARCHAR, AccountType VARCHAR, loaded_at TIMESTAMP",
    "snapshots.snap_customer": "customer_id BIGINT, customer_name VARCHAR, has_loan_flag BOOLEAN, loaded_at TIMESTAMP, "
    + _VERSION,
    "snapshots.snap_account": "account_id VARCHAR, customer_id BIGINT, balance_amount DECIMAL(18, 2), "
    f"account_type VARCHAR, loaded_at TIMESTAMP, {_VERSION}",
    "int_account_with_customer": _EVENT,
    "int_savings_account_only": _EVENT,
    "marts.account_summary": "customer_id BIGINT, account_id VARCHAR, original_balance_amount DECIMAL(18, 2), "
    "interest_rate_pct DECIMAL(6, 4), annual_interest_amount DECIMAL(18, 2), new_balance_amount DECIMAL(18, 2), "
    "calculated_at TIMESTAMP WITH TIME ZONE",
    "marts.customer_profile": "customer_id BIGINT, customer_name VARCHAR, has_loan_flag BOOLEAN, "
    "total_accounts_count BIGINT, total_balance_amount DECIMAL(38, 2)",
}
_VIEWS = {
    "stg_customer": "SELECT CAST(CustomerID AS BIGINT) AS customer_id, TRIM(Name) AS customer_name, "
    "LOWER(HasLoan) = 'yes' AS has_loan_flag, loaded_at FROM {target}.src_customer",
    "stg_account": "SELECT AccountID AS account_id, CAST(CustomerID AS BIGINT) AS customer_id, "
    "CAST(Balance AS DECIMAL(18, 2)) AS balance_amount, LOWER(AccountType) AS account_type, loaded_at "
    "FROM {target}.src_account",
}
_FIRST, _SECOND = "TIMESTAMP '2024-01-01 02:00:00'", "TIMESTAMP '2024-01-02 02:00:00'"
_IDS = (
    "2bb105d2e8e963f1da9676eda7a7510a",
    "113f9cfff7ba6158c6d6502b9795b9b0",
    "d86d21d57c4d6b3f09d385c228d6c612",
    "857ff968b4406f5a0ba1eaa51ac423a6",
)
_ROWS = {
    "src_customer": (f"'1', 'Alicia', 'Yes', {_SECOND}",),
    "src_account": (f"'A1', '1', '150.00', 'Savings', {_SECOND}",),
    "snapshots.snap_customer": (
        f"1, 'Alice', TRUE, {_FIRST}, '{_IDS[0]}', {_FIRST}, {_FIRST}, {_SECOND}",
        f"1, 'Alicia', TRUE, {_SECOND}, '{_IDS[1]}', {_SECOND}, {_SECOND}, NULL",
    ),
    "snapshots.snap_account": (
        f"'A1', 1, 100.00, 'savings', {_FIRST}, '{_IDS[2]}', {_FIRST}, {_FIRST}, {_SECOND}",
        f"'A1', 1, 150.00, 'savings', {_SECOND}, '{_IDS[3]}', {_SECOND}, {_SECOND}, NULL",
    ),
    "int_account_with_customer": (f"'A1', 1, 'Alicia', TRUE, 150.00, 'savings', {_SECOND}, NULL",),
    "int_savings_account_only": (f"'A1', 1, 'Alicia', TRUE, 150.00, 'savings', {_SECOND}, NULL",),
    "marts.account_summary": (f"1, 'A1', 150.00, 0.0150, 2.25, 152.25, {_SECOND}",),
    "marts.customer_profile": ("1, 'Alicia', TRUE, 1, 150.00",),
}


def statements(target: str) -> list[str]:
    """SQL of DuckDB that makes all of it, where dbt's target schema is there already."""

    def place(name: str) -> str:
        return name if "." in name else f"{target}.{name}"

    return [
        "CREATE SCHEMA snapshots",
        "CREATE SCHEMA marts",
        *(f"CREATE TABLE {place(name)} ({columns})" for name, columns in _TABLES.items()),
        *(f"INSERT INTO {place(name)} VALUES {', '.join(f'({row})' for row in rows)}" for name, rows in _ROWS.items()),
        *(f"CREATE VIEW {place(name)} AS {query.format(target=target)}" for name, query in _VIEWS.items()),
    ]


def make_database(path: Path) -> None:
    """A database file as dbt-duckdb leaves it."""
    with duckdb.connect(str(path)) as connection:
        for statement in statements("main"):
            connection.execute(statement)


def contents(path: Path) -> dict[str, tuple[str, list[tuple[Any, ...]]]]:
    """Every table and view of a database file that no process has open: how it is defined, and its rows.

    SQLMesh's state is left out: it makes and tidies that one before it looks at anything else.
    """
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH {text_literal(path)} AS lending_club (READ_ONLY); USE lending_club")
        defined = connection.execute(
            "SELECT schema_name, table_name, sql FROM DUCKDB_TABLES() WHERE schema_name <> 'sqlmesh' UNION ALL "
            "SELECT schema_name, view_name, sql FROM DUCKDB_VIEWS() WHERE NOT internal"
        ).fetchall()
        return {
            f"{schema}.{name}": (sql, connection.execute(f'FROM "{schema}"."{name}" ORDER BY ALL').fetchall())
            for schema, name, sql in defined
        }
