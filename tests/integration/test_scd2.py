"""History: what the snapshots promise, in the real pipeline and, for the strategy alone, in a bare DuckDB."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlglot import exp, parse_one

from materializations import scd_type_2
from tests.compare import assert_same_rows
from tests.lab import Lab, Rows, Story, assert_same_tables, continued, newest, select, tell
from tests.reference import Load, Reference, history, snapshot_row

START = datetime(2024, 1, 15, 2)
TIMES = [START, START + timedelta(days=1), START + timedelta(days=2), START + timedelta(days=3)]

# What the file of each load holds for a key; None: the key is not in it. Each key is one promise.
CUSTOMERS: dict[str, list[list[tuple[str, str]] | None]] = {
    "1": [[("Ana", "no")], [("Anna", "no")], [("Ana", "no")], [("Ana", "no")]],  # changes and changes back
    "2": [[("Bob", "yes")]] * 4,  # is sent again as it was
    "3": [[("Carl May", "yes")], [(" Carl  May\u00a0", "Y")], [("Carl\nMay", "TRUE")], [("Carl May", "1")]],
    "4": [[("Dora", "no")], [("Dora", "no")], None, None],  # leaves
    "5": [[("Eve", "no")], None, [("Eve", "no")], [("Eve", "no")]],  # leaves and returns as it was
    "6": [
        [("Finn", "no")],
        [("Finn", "maybe")],
        [("Finn", "yes")],
        [("", "yes")],
    ],  # is invalid in between and at last
    "7": [[("Gus", "no")], [("Gus", "no"), ("Gustav", "no")], [("Gus", "no")], [("Gus", "no")]],  # contradicts itself
    "8": [[("Hal", "no")], [("Hal", "?")], None, None],  # leaves while its row is in quarantine
    "9": [[("", "no")], [("", "no")], [("Ida", "no")], [("Ida", "no")]],  # is valid only later
}
ACCOUNTS: dict[str, list[list[tuple[str, str, str]] | None]] = {
    "A1": [[("2", "100", "savings")], [("2", "100.00", "Savings")], [("2", " +100.001 ", "SAVINGS")]] * 2,
    "A2": [[("2", "100", "savings")], [("2", "100", "checking")], [("2", "100", "savings")], [("1", "100", "savings")]],
    "A3": [[("2", "5", "savings")], [("2", "-5", "savings")], None, [("2", "5", "savings")]],
}


def loads_of(customers: dict[str, Any], accounts: dict[str, Any], times: list[datetime]) -> list[Load]:
    """One load per time, of what the journeys hold for it."""
    return [
        Load(
            time,
            [(key, *row) for key, files in customers.items() for row in files[number] or []],
            [(key, *row) for key, files in accounts.items() for row in files[number] or []],
        )
        for number, time in enumerate(times)
    ]


def edited(load: Load, loaded_at: datetime, customers: dict[str, tuple[str, str] | None]) -> Load:
    """The load with other rows for some customers (None: left out), taken at another time."""
    kept = [row for row in load.customer if row[0] not in customers]
    return Load(loaded_at, kept + [(key, *row) for key, row in customers.items() if row], load.account)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    return tell(tmp_path_factory.mktemp("scd2"), loads_of(CUSTOMERS, ACCOUNTS, TIMES))


def versions(rows: Rows) -> list[tuple[Any, ...]]:
    """From, to, whether ended by removal; in order of time."""
    return sorted((row["valid_from_at"], row["valid_to_at"], row["is_deleted_flag"]) for row in rows)


def customer(story: Story, customer_id: int) -> Rows:
    return select(story.after[-1]["snapshots.snap_customer"], customer_id=customer_id)


def account(story: Story, account_id: str) -> Rows:
    return select(story.after[-1]["snapshots.snap_account"], account_id=account_id)


class TestVersions:
    def test_content_that_changes_and_changes_back_is_two_new_versions(self, story: Story) -> None:
        assert versions(customer(story, 1)) == [
            (TIMES[0], TIMES[1], False),
            (TIMES[1], TIMES[2], False),
            (TIMES[2], None, False),
        ]
        names = [row["customer_name"] for row in sorted(customer(story, 1), key=lambda row: row["valid_from_at"])]
        assert names == ["Ana", "Anna", "Ana"]

    def test_unchanged_resend_opens_no_version(self, story: Story) -> None:
        assert versions(customer(story, 2)) == [(TIMES[0], None, False)]

    def test_row_that_differs_only_in_what_cleaning_removes_opens_no_version(self, story: Story) -> None:
        assert versions(customer(story, 3)) == [(TIMES[0], None, False)]
        assert versions(account(story, "A1")) == [(TIMES[0], None, False)]
        sent = [row for row in story.after[-1]["landing.customer"] if row["customer_key"] == "3"]
        assert len(sent) == len(TIMES), "the landing zone keeps each form as received"

    def test_deletion_is_dated_by_the_load_that_lacked_the_key_and_flagged(self, story: Story) -> None:
        assert versions(customer(story, 4)) == [(TIMES[0], TIMES[2], True)]

    def test_return_leaves_the_gap_visible(self, story: Story) -> None:
        assert versions(customer(story, 5)) == [(TIMES[0], TIMES[1], True), (TIMES[2], None, False)]

    def test_quarantined_row_leaves_the_last_valid_version_in_place(self, story: Story) -> None:
        assert versions(customer(story, 6)) == [(TIMES[0], TIMES[2], False), (TIMES[2], None, False)]
        assert select(story.after[-1]["staging.quarantine_customer"], customer_key="6", loaded_at=TIMES[3])

    def test_conflicting_rows_leave_the_last_valid_version_in_place(self, story: Story) -> None:
        assert versions(customer(story, 7)) == [(TIMES[0], None, False)]
        conflicting = select(story.after[-1]["staging.quarantine_customer"], customer_key="7")
        assert [row["reasons"] for row in conflicting] == ["conflicting_rows"] * 2

    def test_key_that_leaves_while_in_quarantine_is_ended(self, story: Story) -> None:
        assert versions(customer(story, 8)) == [(TIMES[0], TIMES[2], True)]
        assert versions(account(story, "A3")) == [(TIMES[0], TIMES[2], True), (TIMES[3], None, False)]

    def test_key_starts_with_its_first_valid_row(self, story: Story) -> None:
        assert versions(customer(story, 9)) == [(TIMES[2], None, False)]

    def test_any_column_of_an_account_makes_a_version(self, story: Story) -> None:
        assert versions(account(story, "A2")) == [
            (TIMES[0], TIMES[1], False),
            (TIMES[1], TIMES[2], False),
            (TIMES[2], TIMES[3], False),
            (TIMES[3], None, False),
        ]

    def test_a_version_carries_the_load_that_opened_it(self, story: Story) -> None:
        for table in ("snapshots.snap_customer", "snapshots.snap_account"):
            assert all(row["loaded_at"] == row["valid_from_at"] for row in story.after[-1][table])


@pytest.fixture(scope="module")
def going_on(story: Story, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Lab, Reference]]:
    """A lab that goes on from the story with three loads, ingested one by one and run in one window."""
    with continued(story, tmp_path_factory.mktemp("windows")) as (lab, reference):
        base = story.loads[-1]
        times = [TIMES[-1] + timedelta(days=1, minutes=minute, microseconds=7) for minute in (0, 20, 90)]
        several = [
            edited(base, times[0], {"1": ("Anna", "no"), "2": None, "4": ("Dora", "yes")}),
            edited(base, times[1], {"1": ("Ana", "no"), "2": ("Bob", "yes"), "4": None}),
            edited(base, times[2], {"1": ("Ana", "yes"), "2": ("Bob", "no"), "4": ("Dora", "yes")}),
        ]
        for load in several:
            reference.take(load)
            lab.land(load)
        with lab.evaluated_windows() as windows:
            lab.transform(several[-1].loaded_at)
        assert len(windows["snapshots.snap_customer"]) == 1, "this is about several loads in one window"
        yield lab, reference


class TestWindows:
    """Each test leaves the lab with tables that equal the reference."""

    def test_several_loads_in_one_window_give_the_versions_one_by_one(self, going_on: tuple[Lab, Reference]) -> None:
        lab, reference = going_on
        lab.assert_equals(reference)
        assert len(select(lab.rows("snapshots.snap_customer"), customer_id=1)) == 6

    def test_repeating_a_window_changes_nothing(self, going_on: tuple[Lab, Reference]) -> None:
        lab, reference = going_on
        before = lab.tables()
        with lab.evaluated_windows() as windows:
            lab.transform(newest(reference) + timedelta(minutes=1))
        assert windows["snapshots.snap_customer"], "the hour under way is evaluated once more"
        assert_same_tables(before, lab.tables())

    def test_full_refresh_rebuilds_the_same_history_versions_inside_a_day_included(
        self, going_on: tuple[Lab, Reference]
    ) -> None:
        lab, reference = going_on
        before = lab.tables()
        with lab.evaluated_windows() as windows:
            lab.transform(lab.job.record.loaded_at, full_refresh=True)
        assert min(windows["snapshots.snap_account"])[0] < TIMES[0], "history is built anew from its first load"
        assert_same_tables(before, lab.tables())
        lab.assert_equals(reference)

    @pytest.mark.parametrize("snapshot", ["snapshots.snap_account", "snapshots.snap_customer"])
    def test_restating_a_snapshot_gives_the_same_history(self, going_on: tuple[Lab, Reference], snapshot: str) -> None:
        lab, reference = going_on
        with lab.evaluated_windows() as windows:
            lab.job.project.context.plan(
                "prod",
                restate_models=[snapshot],
                execution_time=newest(reference) + timedelta(minutes=5),
                no_prompts=True,
                auto_apply=True,
                skip_tests=True,
            )
        assert min(windows[snapshot])[0] < TIMES[0]
        lab.assert_equals(reference)

    def test_a_run_changes_a_snapshot_by_one_merge(self, going_on: tuple[Lab, Reference]) -> None:
        lab, reference = going_on
        last = reference.last_loaded_at
        assert last is not None
        load = edited(
            Load(last, [("1", "Ana", "no")], [("A1", "2", "77", "savings")]),
            last + timedelta(days=1),
            {"2": ("B", "no")},
        )
        reference.take(load)
        with lab.writes() as writes:
            lab.take(load)
        lab.assert_equals(reference)
        assert {table: verbs for table, verbs in writes.items() if table.startswith("snapshots.")} == {
            "snapshots.snap_customer": ["MERGE"],
            "snapshots.snap_account": ["MERGE"],
        }


# ------------------------------------------------------------------------------------------- the strategy by itself

COLUMNS = scd_type_2.HistoryColumns(
    keys=("k",),
    content=("a", "b"),
    stored=("k", "a", "b", "is_deleted_flag", "loaded_at", "valid_from_at", "valid_to_at"),
    happened_at="loaded_at",
    valid_from="valid_from_at",
    valid_to="valid_to_at",
)
HISTORY = exp.to_table("history")
NUMBERS = st.one_of(st.none(), st.integers(0, 1))


@st.composite
def staged_rows(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Staging rows of few keys: at most one per key and load, content that is often NULL, removals."""
    rows = []
    for hour in range(draw(st.integers(1, 6))):
        for key in draw(st.sets(st.integers(1, 3), min_size=1)):
            is_gone = draw(st.sampled_from((False, False, True)))
            values = {name: None if is_gone else draw(NUMBERS) for name in ("a", "b")}
            rows.append(
                {"k": key, **values, "is_deleted_flag": is_gone, "loaded_at": START + timedelta(minutes=25 * hour)}
            )
    return rows


def bare_history(rows: list[dict[str, Any]], windows: list[tuple[datetime, datetime]], *, at_once: bool) -> Rows:
    """The table that the strategy's statements leave after the windows, in a database of its own."""
    with duckdb.connect() as connection:
        connection.execute(
            "CREATE TABLE staged (k INT, a INT, b INT, is_deleted_flag BOOLEAN, loaded_at TIMESTAMP);"
            "CREATE TABLE history (k INT, a INT, b INT, is_deleted_flag BOOLEAN, loaded_at TIMESTAMP, "
            "valid_from_at TIMESTAMP, valid_to_at TIMESTAMP)"
        )
        connection.executemany("INSERT INTO staged VALUES (?, ?, ?, ?, ?)", [list(row.values()) for row in rows])
        for number, (start, end) in enumerate(windows):
            incoming = parse_one(
                f"SELECT * FROM staged WHERE loaded_at >= TIMESTAMP '{start}' AND loaded_at < TIMESTAMP '{end}'",
                dialect="duckdb",
            )
            assert isinstance(incoming, exp.Query)
            if number == 0 and at_once:
                built = scd_type_2.versions_query(COLUMNS, incoming, None).sql(dialect="duckdb")
                connection.execute(f"INSERT INTO history SELECT * EXCLUDE (_is_stored) FROM ({built})")
            else:
                connection.execute(scd_type_2.merge_statement(COLUMNS, incoming, HISTORY).sql(dialect="duckdb"))
        found = connection.execute("SELECT * FROM history").fetchall()
    return [dict(zip(COLUMNS.stored, row, strict=True)) for row in found]


@settings(max_examples=60, deadline=None)
@given(rows=staged_rows(), cuts=st.sets(st.integers(1, 149), max_size=4), repeated=st.booleans(), at_once=st.booleans())
def test_any_split_into_windows_gives_the_history_of_all_rows_at_once(
    rows: list[dict[str, Any]], cuts: set[int], repeated: bool, at_once: bool
) -> None:
    """NULL is content like any other, the first window may or may not be a first insert, windows may be repeated."""
    edges = [START, *(START + timedelta(minutes=cut) for cut in sorted(cuts)), START + timedelta(minutes=150)]
    windows = list(pairwise(edges))
    if repeated:
        windows += windows
    expected = [snapshot_row("k", version) for version in history(rows, "k")]
    assert_same_rows(expected, bare_history(rows, windows, at_once=at_once), "history")


def test_a_null_in_a_closed_version_stays_null() -> None:
    rows = [
        {"k": 1, "a": a, "b": 0, "is_deleted_flag": False, "loaded_at": START + timedelta(hours=hour)}
        for hour, a in enumerate((5, None, 5))
    ]
    windows = [(START + timedelta(hours=hour), START + timedelta(hours=hour + 1)) for hour in range(3)]
    found = bare_history(rows, windows, at_once=True)
    assert [row["a"] for row in sorted(found, key=lambda row: row["valid_from_at"])] == [5, None, 5]
