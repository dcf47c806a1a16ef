"""Money to the cent: the models' queries on amounts that SQLMesh's own tests can't tell apart, for they compare floats.

The queries are the project's, rendered by SQLMesh for its test stage and run on DuckDB over a few rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from sqlmesh.core.context import Context
from sqlmesh.core.macros import RuntimeStage

from tests.reference import DEFAULT_TIERS, interest_rate, judge_balance, round_half_up

ROOT = Path(__file__).resolve().parents[2]
DAY = "2024-01-15"
MOMENT = f"TIMESTAMP '{DAY} 02:00:00'"
NO_RATE_CHANGE = "SELECT NULL::TIMESTAMP AS changed_at WHERE FALSE"
LARGEST = Decimal("9999999999999999.99")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Context]:
    """The project's models, with an empty database behind them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_TYPE", "duckdb")
        patch.setenv("DUCKDB_PATH", str(tmp_path_factory.mktemp("project") / "empty.duckdb"))
        context = Context(paths=str(ROOT))
    yield context
    context.close()


def run(project: Context, model: str, inputs: dict[str, str]) -> list[dict[str, Any]]:
    """The rows of a model's query over inputs, each a SELECT statement by the name of its table."""
    connection = duckdb.connect()
    mapping = {}
    for number, (table, select) in enumerate(inputs.items()):
        connection.execute(f"CREATE TABLE input_{number} AS {select}")
        mapping[project.get_model(table, raise_if_missing=True).fqn] = f"input_{number}"
    query = project.get_model(model, raise_if_missing=True).render_query_or_raise(
        start=DAY, end=DAY, table_mapping=mapping, runtime_stage=RuntimeStage.TESTING
    )
    result = connection.execute(query.sql(dialect="duckdb"))
    columns = [name for name, *_ in result.description]
    return [dict(zip(columns, row, strict=True)) for row in result.fetchall()]


def judged_balances(project: Context, balances: list[str]) -> dict[str, tuple[Decimal | None, str]]:
    """What staging.judged_account makes of each text: the balance and the reasons."""
    rows = ", ".join(f"('{balance}')" for balance in balances)
    select = f"""
        SELECT {MOMENT} AS loaded_at, 'new' AS change_type, balance AS account_key, 1 AS rows_for_key_count,
               balance AS account_id, '1' AS customer_id, balance, 'savings' AS account_type
        FROM (VALUES {rows}) AS received (balance)
    """
    judged = run(project, "staging.judged_account", {"source.src_account": select})
    return {row["received_balance"]: (row["balance_amount"], row["reasons"]) for row in judged}


def summaries(project: Context, accounts: dict[str, tuple[Decimal, bool]]) -> dict[str, dict[str, Any]]:
    """The rows of marts.account_summary of active savings accounts: balance and loan flag by account id."""
    rows = ", ".join(f"('{key}', {balance}::DECIMAL(18, 2), {loan})" for key, (balance, loan) in accounts.items())
    tiers = ", ".join(f"({t.balance_from_amount}, {t.interest_rate_pct}, {t.loan_bonus_pct})" for t in DEFAULT_TIERS)
    inputs = {
        "intermediate.int_savings_account_only": f"""
            SELECT account_id, 1::BIGINT AS customer_id, balance_amount, has_loan_flag, TRUE AS is_active_savings_flag,
                   {MOMENT} AS event_at
            FROM (VALUES {rows}) AS event (account_id, balance_amount, has_loan_flag)
        """,
        "reference.interest_rate_tier": f"""
            SELECT f::DECIMAL(18, 2) AS balance_from_amount, r::DECIMAL(6, 4) AS interest_rate_pct,
                   b::DECIMAL(6, 4) AS loan_bonus_pct
            FROM (VALUES {tiers}) AS tier (f, r, b)
        """,
        "reference.rate_change": NO_RATE_CHANGE,
    }
    return {row["account_id"]: row for row in run(project, "marts.account_summary", inputs)}


def test_balance_is_exact_to_the_cent_up_to_the_largest(project: Context) -> None:
    assert judged_balances(
        project,
        [
            "9999999999999999.99",
            "9999999999999999.9949999999999999999999999999",
            "9999999999999999.985",
            "1234567890123456.785",
            "1234567890123456.7849999999999999999999999999",
            "999999999999999.995",
            "0000000000000001.005",
            "9999999999999999.995",
        ],
    ) == {
        "9999999999999999.99": (LARGEST, ""),
        "9999999999999999.9949999999999999999999999999": (LARGEST, ""),
        "9999999999999999.985": (LARGEST, ""),
        "1234567890123456.785": (Decimal("1234567890123456.79"), ""),
        "1234567890123456.7849999999999999999999999999": (Decimal("1234567890123456.78"), ""),
        "999999999999999.995": (Decimal("1000000000000000.00"), ""),
        "0000000000000001.005": (Decimal("1.01"), ""),
        "9999999999999999.995": (None, "balance_too_large"),
    }


def test_balance_of_every_thousandth_is_rounded_as_the_reference_rounds_it(project: Context) -> None:
    balances = [f"{whole}.{thousandth:03}" for whole in (0, 7, 9999999999999998) for thousandth in range(1000)]
    assert judged_balances(project, balances) == {balance: (judge_balance(balance)[0], "") for balance in balances}


def test_interest_is_rounded_half_up_and_added_to_the_cent(project: Context) -> None:
    """Balances around every tier and every half cent, and the largest, with and without a loan."""
    balances = [Decimal(cents) / 100 for border in (0, 1_000_000, 2_000_000) for cents in range(border, border + 400)]
    balances += [border - Decimal("0.01") for border in (Decimal(10_000), Decimal(20_000))]
    balances += [LARGEST, LARGEST - Decimal("0.01"), Decimal("1234567890123456.78")]
    accounts = {f"{balance} {loan}": (balance, loan) for balance in balances for loan in (False, True)}

    found = summaries(project, accounts)

    assert found.keys() == accounts.keys()
    for key, (balance, loan) in accounts.items():
        rate = interest_rate(balance, loan, DEFAULT_TIERS)
        interest = round_half_up(balance * rate)
        row = found[key]
        amounts = ("original_balance_amount", "interest_rate_pct", "annual_interest_amount", "new_balance_amount")
        assert [row[column] for column in amounts] == [balance, rate, interest, balance + interest], key


def test_profile_adds_the_largest_amounts_exactly(project: Context) -> None:
    keys = "(VALUES ('A1'), ('A2'), ('A3')) AS account (account_id)"
    inputs = {
        "marts.account_summary": f"""
            SELECT account_id, 1::BIGINT AS customer_id, {LARGEST}::DECIMAL(18, 2) AS original_balance_amount,
                   {LARGEST}::DECIMAL(18, 2) AS annual_interest_amount, {MOMENT} AS calculated_at
            FROM {keys}
        """,
        "intermediate.int_savings_account_only": f"""
            SELECT account_id, 1::BIGINT AS customer_id, 'Ana' AS customer_name, TRUE AS has_loan_flag,
                   NULL::BIGINT AS previous_customer_id, TRUE AS is_active_savings_flag, {MOMENT} AS event_at
            FROM {keys}
        """,
        "reference.rate_change": NO_RATE_CHANGE,
    }
    [row] = run(project, "marts.customer_profile", inputs)
    assert (row["total_accounts_count"], row["total_balance_amount"]) == (3, 3 * LARGEST)
    assert row["total_annual_interest_amount"] == 3 * LARGEST
