"""What breaks the contract of published tables: lost models and columns, and types that hold less than before."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlglot import exp

from scripts.project.published_schema import Columns, broken_promises, holds_all_of

SUMMARY = {
    "account_id": "TEXT",
    "customer_id": "BIGINT",
    "balance_amount": "DECIMAL(18,2)",
    "calculated_at": "TIMESTAMP",
}
MODEL = "marts.account_summary"


def columns(**types: str) -> Columns:
    return {name: exp.DataType.build(kind, dialect="duckdb") for name, kind in types.items()}


def broken_by(**after: str) -> list[str]:
    return broken_promises({MODEL: columns(**SUMMARY)}, {MODEL: columns(**after)})


def without(name: str) -> dict[str, str]:
    return {column: kind for column, kind in SUMMARY.items() if column != name}


class TestKept:
    def test_nothing_changed(self) -> None:
        assert broken_by(**SUMMARY) == []

    def test_columns_in_another_order(self) -> None:
        assert broken_by(**dict(reversed(SUMMARY.items()))) == []

    def test_a_new_column_and_a_new_model(self) -> None:
        after = {MODEL: columns(**SUMMARY, name="TEXT"), "marts.other": columns(a="INT")}
        assert broken_promises({MODEL: columns(**SUMMARY)}, after) == []

    def test_wider_types(self) -> None:
        assert broken_by(**{**SUMMARY, "customer_id": "HUGEINT", "balance_amount": "DECIMAL(20,4)"}) == []


class TestBroken:
    def test_a_model_that_is_gone(self) -> None:
        assert broken_promises({MODEL: columns(**SUMMARY)}, {}) == [f"{MODEL} is gone."]

    def test_a_column_that_is_gone(self) -> None:
        assert broken_by(**without("customer_id")) == [f"{MODEL}: column customer_id (BIGINT) is gone."]

    def test_a_column_that_is_renamed(self) -> None:
        assert broken_by(**without("customer_id"), client_id="BIGINT") == [
            f"{MODEL}: column customer_id (BIGINT) is gone."
        ]

    @pytest.mark.parametrize(
        ("column", "narrower"),
        [
            ("customer_id", "INT"),
            ("customer_id", "TEXT"),
            ("customer_id", "DOUBLE"),
            ("balance_amount", "DECIMAL(17, 2)"),
            ("balance_amount", "DECIMAL(18, 1)"),
            ("balance_amount", "DECIMAL(18, 3)"),
            ("balance_amount", "DOUBLE"),
            ("calculated_at", "DATE"),
            ("calculated_at", "TIMESTAMPTZ"),
        ],
    )
    def test_a_type_that_holds_less_or_is_another(self, column: str, narrower: str) -> None:
        (sentence,) = broken_by(**{**SUMMARY, column: narrower})
        old = columns(**SUMMARY)[column].sql(dialect="duckdb")
        assert sentence == f"{MODEL}: column {column} is {old} and would be {narrower}."

    def test_every_broken_promise_is_named(self) -> None:
        before = {MODEL: columns(**SUMMARY), "snapshots.snap_account": columns(account_id="TEXT", customer_id="BIGINT")}
        after = {
            MODEL: columns(account_id="TEXT"),
            "snapshots.snap_account": columns(account_id="TEXT", customer_id="INT"),
        }
        assert len(broken_promises(before, after)) == 4


@pytest.fixture(scope="module")
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        yield connection


# Of each type the values that are the first to be lost.
EXTREMES = {
    **{
        kind: [f"{sign}{2 ** (bits - 1) - 1}" for sign in ("", "-")]
        for kind, bits in {"TINYINT": 8, "SMALLINT": 16, "INT": 32, "BIGINT": 64, "HUGEINT": 128}.items()
    },
    "FLOAT": ["3.4e38", "0.1"],
    "DOUBLE": ["1.7e308", "0.1"],
    "TEXT": ["'a'", "'12345678901234567890.5'"],
    "BOOLEAN": ["TRUE"],
    "DATE": ["'2024-02-29'"],
    "TIMESTAMP": ["'2024-02-29 23:59:59.999999'"],
}
WHOLE, FLOATING = ("TINYINT", "SMALLINT", "INT", "BIGINT", "HUGEINT"), ("FLOAT", "DOUBLE")


@st.composite
def decimals(draw: st.DrawFn) -> str:
    precision = draw(st.integers(1, 38))
    return f"DECIMAL({precision},{draw(st.integers(0, precision))})"


def extremes(kind: str) -> list[str]:
    if not kind.startswith("DECIMAL"):
        return EXTREMES[kind]
    precision, scale = map(int, kind[8:-1].split(","))
    digits = "9" * precision
    return [f"'{sign}{digits[: precision - scale]}.{digits[precision - scale :]}'" for sign in ("", "-")]


def survives(engine: duckdb.DuckDBPyConnection, old: str, new: str) -> bool:
    """Whether the engine brings every extreme value of a type into another one and back unchanged."""
    return all(
        engine.execute(
            f"SELECT TRY_CAST(TRY_CAST(value AS {new}) AS {old}) IS NOT DISTINCT FROM value "
            f"FROM (SELECT CAST({value} AS {old}) AS value)"
        ).fetchall()
        == [(True,)]
        for value in extremes(old)
    )


def kept(old: str, new: str) -> bool:
    return holds_all_of(*columns(old=old, new=new).values())


@given(old=decimals(), new=decimals())
def test_a_decimal_type_is_wide_enough_where_the_engine_loses_no_value(
    engine: duckdb.DuckDBPyConnection, old: str, new: str
) -> None:
    assert kept(old, new) == survives(engine, old, new)


@pytest.mark.parametrize("family", [WHOLE, FLOATING], ids=["whole", "floating"])
def test_a_numeric_type_is_wide_enough_where_the_engine_loses_no_value(
    engine: duckdb.DuckDBPyConnection, family: tuple[str, ...]
) -> None:
    for old in family:
        for new in family:
            assert kept(old, new) == survives(engine, old, new), f"{old} to {new}"


@given(st.sampled_from([*EXTREMES, "DECIMAL(18,2)"]), st.sampled_from([*EXTREMES, "DECIMAL(18,2)"]))
def test_a_type_that_passes_loses_no_value_in_the_engine(engine: duckdb.DuckDBPyConnection, old: str, new: str) -> None:
    assert not kept(old, new) or survives(engine, old, new)
