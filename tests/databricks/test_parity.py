"""Six random loads through both gateways: every table row for row, every exported file byte for byte."""

from __future__ import annotations

import random
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, Phase, find, settings

from macros.invisible import INVISIBLE_CODE_POINTS
from scripts.clock import hour_of
from tests.databricks.fixture import RehearsalServer
from tests.databricks.lab import Table, assert_same, databricks_environment, execute
from tests.databricks.parity import Outcome, Recorder, assert_equal_after_each_load, on_both_gateways
from tests.feed_strategies import feed_sequences, write_feeds
from tests.lab import TABLES, Lab, assert_same_tables
from tests.reference import Load, Reference
from tests.unit.test_macros import render

pytestmark = pytest.mark.databricks
IN_A_KEY = "@holds_invisible(CONCAT('A', value, '1'))"


def take_all(current: Lab, loads: Sequence[Load]) -> Outcome:
    recorder = Recorder(current)
    for load in loads:
        write_feeds(load, current.inputs)
        recorder.take(load.loaded_at)
    return recorder.outcome


def is_telling(loads: Sequence[Load]) -> bool:
    """Whether a sequence holds what the engines could differ in: dirt, deletes, returns, moves, loads in one hour."""
    reference = Reference()
    for load in loads:
        reference.take(load)
    tables = reference.tables()
    events = tables["intermediate.int_account_with_customer"]
    versions = tables["snapshots.snap_customer"]
    ended = {row["customer_id"] for row in versions if row["is_deleted_flag"]}
    hours = [hour_of(load.loaded_at) for load in loads]
    return (
        len(set(hours)) < len(hours)
        and any("conflicting_rows" in row["reasons"] for row in tables["staging.quarantine_account"])
        and len({row["reasons"] for row in tables["staging.quarantine_customer"]}) > 1
        and {row["event_status"] for row in events} == {"active", "account_gone", "customer_unknown", "customer_gone"}
        and any(row["previous_customer_id"] not in (None, row["customer_id"]) for row in events)
        and any(row["customer_id"] in ended and row["valid_to_at"] is None for row in versions)
        and {row["feed"] for row in tables["landing.unseen"]} == {"customer", "account"}
        and len(tables["marts.account_summary"]) > 1
    )


@pytest.fixture(scope="module")
def loads() -> list[Load]:
    """One random sequence, always the same with one version of hypothesis."""
    return find(
        feed_sequences(min_loads=6, max_loads=6),
        is_telling,
        settings=settings(
            max_examples=20_000,
            database=None,
            deadline=None,
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
        ),
        random=random.Random(7),
    )


@pytest.fixture(scope="module")
def sequence(loads: list[Load], databricks_server: RehearsalServer, folder: Path) -> tuple[Outcome, Outcome]:
    """What the sequence led to on DuckDB and on Databricks."""
    return on_both_gateways(databricks_server, folder / "sequence", lambda current: take_all(current, loads))


def test_six_random_loads_give_equal_tables_and_files_after_each(sequence: tuple[Outcome, Outcome]) -> None:
    assert_equal_after_each_load(sequence, 6)


def test_databricks_equals_the_plain_reference_after_each_load(
    loads: list[Load], sequence: tuple[Outcome, Outcome]
) -> None:
    reference = Reference()
    for load, tables in zip(loads, sequence[1].tables, strict=True):
        reference.take(load)
        assert_same_tables(reference.tables(), {name: tables[name].rows for name in TABLES})


def test_what_cannot_be_seen_is_the_same_on_both_engines(databricks_server: RehearsalServer, folder: Path) -> None:
    """The first and the last code point of every run, and their neighbours, in the middle of a key.

    DECODE takes a byte order mark away: one that is there for that.
    """
    ends = {int(end, 16) for run in INVISIBLE_CODE_POINTS.split() for end in run.split("-")}
    codes = {code + step for code in ends for step in (-1, 0, 1)} & {*range(1, 0xD800), *range(0xE000, 0x110000)}
    listed = ", ".join(map(str, sorted(codes)))
    expected = duckdb.execute(
        f"SELECT code FROM (SELECT code, CHR(code) AS value FROM UNNEST([{listed}]) AS listed(code)) "
        f"WHERE {render(IN_A_KEY)}"
    ).fetchall()
    with databricks_environment(databricks_server, folder):
        actual = execute(
            databricks_server,
            "SELECT code FROM (SELECT code, DECODE(UNHEX('0000FEFF' || LPAD(HEX(code), 8, '0')), 'UTF-32') AS value "
            f"FROM (SELECT EXPLODE(ARRAY({listed})) AS code)) WHERE {render(IN_A_KEY, 'databricks')}",
        )
    assert len(expected) > 1_000
    assert sorted(actual) == sorted(expected)


@pytest.mark.parametrize(
    ("name", "column", "value"),
    [
        ("marts.account_summary", "annual_interest_amount", lambda money: money + Decimal("0.01")),
        ("snapshots.snap_account", "valid_from_at", lambda moment: moment.replace(microsecond=1)),
        ("landing.load", "unchanged_count", lambda count: count + 1),
        ("staging.stg_customer", "is_deleted_flag", int),
        ("reference.interest_rate_tier", "interest_rate_pct", float),
    ],
)
def test_comparison_sees_one_altered_value(
    sequence: tuple[Outcome, Outcome], name: str, column: str, value: object
) -> None:
    expected, actual = (outcome.tables[-1] for outcome in sequence)
    first, *others = actual[name].rows
    altered = Table(actual[name].types, [{**first, column: value(first[column])}, *others])  # type: ignore[operator]
    with pytest.raises(AssertionError, match=column):
        assert_same(expected, {**actual, name: altered})


def test_comparison_sees_another_type_of_a_column(sequence: tuple[Outcome, Outcome]) -> None:
    expected, actual = (outcome.tables[-1] for outcome in sequence)
    table = actual["marts.account_summary"]
    altered = Table({**table.types, "new_balance_amount": "DECIMAL(20,2)"}, table.rows)
    with pytest.raises(AssertionError, match=r"DECIMAL\(20,2\)"):
        assert_same(expected, {**actual, "marts.account_summary": altered})
