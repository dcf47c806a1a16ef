"""The same feeds through both gateways: every table row for row, every exported file byte for byte (invariant 6)."""

from __future__ import annotations

import csv
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, find, settings

from scripts.clock import hour_of
from scripts.export import EXPORTED_NAMES, MANIFEST_NAME
from scripts.feeds import ACCOUNT, CUSTOMER
from scripts.settings import PROJECT_ROOT
from tests.databricks.fixture import RehearsalServer
from tests.databricks.lab import Table, assert_same, databricks_lab, forget_everything, read_tables
from tests.feed_strategies import feed_sequences, write_feeds
from tests.lab import TABLES, Lab, assert_same_tables, file_bytes, lab
from tests.reference import Load, Reference

pytestmark = pytest.mark.databricks

SAMPLE = PROJECT_ROOT / "data" / "inputs"
SAMPLE_LOADED_AT = datetime(2024, 1, 15, 2)
CHANGE_LOADED_AT = datetime(2024, 1, 16, 2, 0, 0, 1)
# Small files, in which a line too many fields long is soon a large share of all.
DIRT_ALLOWED = {"MAX_REJECTED_SHARE": "1"}
EXPORTS = {*EXPORTED_NAMES, MANIFEST_NAME}


@dataclass(frozen=True)
class Outcome:
    """What one gateway made of some loads: all tables, and the sha256 of every exported file, after each of them."""

    tables: list[dict[str, Table]]
    exports: list[dict[str, str]]


class Recorder:
    """Takes loads in a lab and keeps what they led to."""

    def __init__(self, current: Lab) -> None:
        self.lab = current
        self.outcome = Outcome([], [])

    def take(self, loaded_at: datetime) -> None:
        self.lab.ingest(loaded_at)
        self.lab.transform(loaded_at)
        assert self.lab.failed_audits() == []
        self.lab.job.export()
        self.outcome.tables.append(read_tables(self.lab))
        self.outcome.exports.append(file_bytes(self.lab.folder / "outputs"))


def take_sample(current: Lab) -> Outcome:
    """The sample feed, then a change of it: a loan, three accounts, and in each file a removal and a line of dirt."""
    recorder = Recorder(current)
    for feed in (CUSTOMER, ACCOUNT):
        shutil.copy(SAMPLE / feed.file_name, current.inputs / feed.file_name)
    recorder.take(SAMPLE_LOADED_AT)
    edit_rows(current.inputs / CUSTOMER.file_name, {"1": {"HasLoan": "No"}}, removed="2")
    edit_rows(
        current.inputs / ACCOUNT.file_name,
        {"A001": {"Balance": "20000.005"}, "A002": {"AccountType": "Checking"}, "A003": {"CustomerID": "3"}},
        removed="A004",
    )
    recorder.take(CHANGE_LOADED_AT)
    return recorder.outcome


def edit_rows(path: Path, edits: dict[str, dict[str, str]], *, removed: str) -> None:
    """Changes fields of the rows with these keys (the first column), removes one row, and adds a malformed line."""
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    keys = {row[0] for row in rows}
    assert {*edits, removed} <= keys
    for row in rows:
        for column, text in edits.get(row[0], {}).items():
            row[header.index(column)] = text
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *(row for row in rows if row[0] != removed)])
        file.write("one,field,too,many,surely\n")


def take_all(current: Lab, loads: Sequence[Load]) -> Outcome:
    recorder = Recorder(current)
    for number, load in enumerate(loads):
        write_feeds(load, current.inputs)
        if number % 2:
            with (current.inputs / ACCOUNT.file_name).open("a", encoding="utf-8") as file:
                file.write(f"malformed,{number}\n")
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


@pytest.fixture(scope="module")
def sample(databricks_server: RehearsalServer, folder: Path) -> tuple[Outcome, Outcome]:
    """What the sample feed and its change led to on DuckDB and on Databricks."""
    return on_both_gateways(databricks_server, folder / "sample", take_sample)


def on_both_gateways(server: RehearsalServer, folder: Path, take: Callable[[Lab], Outcome]) -> tuple[Outcome, Outcome]:
    forget_everything(server, folder)
    with lab(folder / "duckdb", **DIRT_ALLOWED) as current:
        on_duckdb = take(current)
    with databricks_lab(server, folder / "databricks", **DIRT_ALLOWED) as current:
        return on_duckdb, take(current)


def assert_equal_after_each_load(outcomes: tuple[Outcome, Outcome], loads_count: int) -> None:
    on_duckdb, on_databricks = outcomes
    assert len(on_duckdb.tables) == len(on_databricks.tables) == loads_count
    for expected, actual in zip(on_duckdb.tables, on_databricks.tables, strict=True):
        assert len(actual) == 17
        assert_same(expected, actual)
    for expected_files, actual_files in zip(on_duckdb.exports, on_databricks.exports, strict=True):
        assert set(expected_files) == EXPORTS
        assert expected_files == actual_files
    assert all(table.rows for table in on_databricks.tables[-1].values()), "an empty table proves nothing"
    assert on_duckdb.exports[0] != on_duckdb.exports[-1]


def test_sample_feed_and_its_change_give_equal_tables_and_files(sample: tuple[Outcome, Outcome]) -> None:
    assert_equal_after_each_load(sample, 2)


def test_six_random_loads_give_equal_tables_and_files_after_each(sequence: tuple[Outcome, Outcome]) -> None:
    assert_equal_after_each_load(sequence, 6)


def test_databricks_equals_the_plain_reference_after_each_load(
    loads: list[Load], sequence: tuple[Outcome, Outcome]
) -> None:
    reference = Reference()
    for load, tables in zip(loads, sequence[1].tables, strict=True):
        reference.take(load)
        assert_same_tables(reference.tables(), {name: tables[name].rows for name in TABLES})


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
    with pytest.raises(AssertionError, match="new_balance_amount"):
        assert_same(expected, {**actual, "marts.account_summary": altered})
