"""Quality report: its figures against hand-made tables, what it must not tell, and how it stands a failed run."""

from __future__ import annotations

import io
import json
import re
import subprocess
from datetime import datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import duckdb
import pytest
import sqlglot
from rich.console import Console

from scripts import wording as text
from scripts.errors import PipelineError
from scripts.feeds import FEEDS, Column, Feed
from scripts.report import figures, quality_report
from scripts.report.console import print_report
from scripts.report.html import render_html
from scripts.report.quality_report import build_report, latest_report, latest_report_path, write_report
from scripts.results import AuditOutcome, Event, ExportedFile, FeedLoad, ModelOutcome, RunRecord
from scripts.warehouse.duckdb import DuckDBWarehouse

LOAD_1 = datetime.fromisoformat("2024-01-14 02:00:00")
LOAD_2 = datetime.fromisoformat("2024-01-15 02:00:00.000001")
STARTED = datetime.fromisoformat("2024-01-15 10:29:50")
FINISHED = datetime.fromisoformat("2024-01-15 10:30:00.123456")

NAME, BALANCE = "Zebedee", "777123.45"
TABLES = """
    CREATE SCHEMA landing;
    CREATE SCHEMA staging;
    CREATE SCHEMA snapshots;
    CREATE SCHEMA marts;
    CREATE TABLE landing.reject (
      loaded_at TIMESTAMP, feed VARCHAR, file_name VARCHAR, line_number BIGINT, reason VARCHAR, detail VARCHAR,
      raw_text VARCHAR
    );
    CREATE TABLE landing.load (loaded_at TIMESTAMP, feed VARCHAR);
    CREATE TABLE landing.unseen (loaded_at TIMESTAMP, feed VARCHAR, record_key VARCHAR);
    CREATE TABLE landing.run (finished_at TIMESTAMP, model_versions VARCHAR);
    INSERT INTO landing.run VALUES
      ('2024-01-15', '["\\"c\\".\\"marts\\".\\"dropped_since\\" 1"]'),
      ('2024-01-16', '["\\"c\\".\\"marts\\".\\"account_summary\\" 2", "\\"c\\".\\"marts\\".\\"customer_profile\\" 3",
        "\\"c\\".\\"staging\\".\\"stg_account\\" 4"]');
    CREATE TABLE staging.judged_customer (
      loaded_at TIMESTAMP, is_deleted_flag BOOLEAN, customer_key VARCHAR, received_customer_id VARCHAR,
      received_customer_name VARCHAR, received_has_loan VARCHAR, customer_id BIGINT, customer_name VARCHAR,
      has_loan_flag BOOLEAN, reasons VARCHAR
    );
    CREATE TABLE staging.judged_account (
      loaded_at TIMESTAMP, is_deleted_flag BOOLEAN, account_key VARCHAR, received_account_id VARCHAR,
      received_customer_id VARCHAR, received_balance VARCHAR, received_account_type VARCHAR, customer_id BIGINT,
      balance_amount DECIMAL(18,2), account_type VARCHAR, reasons VARCHAR
    );
    CREATE TABLE snapshots.snap_customer (
      customer_id BIGINT, customer_name VARCHAR, has_loan_flag BOOLEAN, is_deleted_flag BOOLEAN, loaded_at TIMESTAMP,
      valid_from_at TIMESTAMP, valid_to_at TIMESTAMP
    );
    CREATE TABLE snapshots.snap_account (
      account_id VARCHAR, customer_id BIGINT, balance_amount DECIMAL(18,2), account_type VARCHAR,
      is_deleted_flag BOOLEAN, loaded_at TIMESTAMP, valid_from_at TIMESTAMP, valid_to_at TIMESTAMP
    );
    CREATE TABLE marts.account_summary (account_id VARCHAR);
    CREATE TABLE marts.customer_profile (customer_id BIGINT);
"""


class Lab:
    """Tables to fill by hand, one event a call."""

    def __init__(self) -> None:
        self.connection = duckdb.connect()
        self.connection.execute(TABLES)
        self.warehouse = DuckDBWarehouse(self.connection)

    def staged_customer(self, key: int, at: datetime, deleted: bool = False) -> None:
        received = [None] * 3 if deleted else [str(key), NAME, "yes"]
        typed = [key, None, None] if deleted else [key, NAME, True]
        self.judged("customer", at, deleted, str(key), *received, *typed, "")

    def staged_account(self, key: str, at: datetime, deleted: bool = False) -> None:
        received = [None] * 4 if deleted else [key, "1", BALANCE, "savings"]
        typed = [None] * 3 if deleted else [1, BALANCE, "savings"]
        self.judged("account", at, deleted, key, *received, *typed, "")

    def bad_customer(self, key: str, at: datetime, reasons: str, deleted: bool = False) -> None:
        typed = [int(key) if key.isdigit() else None, NAME, True]
        self.judged("customer", at, deleted, key, key, NAME, "yes", *typed, reasons)

    def bad_account(self, key: str | None, at: datetime, reasons: str, deleted: bool = False) -> None:
        self.judged("account", at, deleted, key, key, "1", BALANCE, "savings", 1, BALANCE, "savings", reasons)

    def judged(self, feed: str, *values: Any) -> None:
        places = ", ".join("?" * len(values))
        self.connection.execute(f"INSERT INTO staging.judged_{feed} VALUES ({places})", values)

    def customer_version(self, key: int, start: datetime, end: datetime | None = None) -> None:
        self.connection.execute(
            "INSERT INTO snapshots.snap_customer VALUES (?, ?, true, false, ?, ?, ?)", [key, NAME, start, start, end]
        )

    def account_version(self, key: str, customer: int, start: datetime, end: datetime | None = None) -> None:
        self.connection.execute(
            "INSERT INTO snapshots.snap_account VALUES (?, ?, ?, 'savings', false, ?, ?, ?)",
            [key, customer, BALANCE, start, start, end],
        )

    def reject(self, file_name: str, line: int, reason: str, at: datetime = LOAD_2) -> None:
        self.connection.execute(
            "INSERT INTO landing.reject VALUES (?, 'account', ?, ?, ?, ?, ?)", [at, file_name, line, reason, NAME, NAME]
        )

    def unseen(self, *keys: str, at: datetime = LOAD_2) -> None:
        self.connection.execute("INSERT INTO landing.load VALUES (?, 'account')", [at])
        for key in keys:
            self.connection.execute("INSERT INTO landing.unseen VALUES (?, 'account', ?)", [at, key])


@pytest.fixture
def lab() -> Lab:
    return Lab()


def feed_load(feed: str, file_name: str, at: datetime = LOAD_2) -> FeedLoad:
    return FeedLoad(at, feed, file_name, "ab" * 32, 1234, 105, 103, 10, 20, 4, 70, 3, 2)


def outcome(audit: str, model: str, severity: str = "error", failed: int = 0) -> AuditOutcome:
    return AuditOutcome(audit, model, model.split(".")[0], severity, failed, f"SELECT 1 FROM {model}")


def run_record(**changes: Any) -> RunRecord:
    record = RunRecord(
        run_id="20240115T102950Z-ab12",
        environment="dev",
        gateway="duckdb",
        started_at=STARTED,
        status="succeeded",
        finished_at=FINISHED,
        loaded_at=LOAD_2,
        execution_time=STARTED + timedelta(seconds=1),
        loads=[feed_load("customer", "Customer.csv"), feed_load("account", "accounts.csv")],
        audits=[outcome("not_null(account_id)", "staging.stg_account"), outcome("x", "marts.account_summary")],
        models=[ModelOutcome("staging.stg_account", "staging", 0.25, 30), ModelOutcome("marts.x", "marts", 1.5, None)],
        exports=[ExportedFile("data/outputs/account_summary.csv", 7, 1500, "cd" * 32, True)],
        step_seconds={"ingest": 0.5, "run": 2.0},
    )
    for name, value in changes.items():
        setattr(record, name, value)
    return record


def printed(report: dict[str, Any], width: int) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False, highlight=False)
    print_report(report, console)
    output = console.file
    assert isinstance(output, io.StringIO)
    return output.getvalue()


def reasons_of(content: dict[str, Any]) -> dict[str, tuple[int, int, list[str]]]:
    return {entry["reason"]: (entry["keys"], entry["rows"], entry["sample_keys"]) for entry in content["reasons"]}


def test_report_has_the_structure_of_the_guide(lab: Lab) -> None:
    audits = [
        outcome("not_null(customer_id)", "source.src_customer"),
        outcome("not_null(customer_id)", "staging.stg_customer"),
        outcome("newest_row_valid", "staging.quarantine_account", "warn", 7),
        outcome("unique_values(account_id)", "intermediate.int_account_with_customer", "error", 2),
        outcome("not_null(account_id)", "marts.account_summary", "error", 1),
    ]
    report = build_report(run_record(audits=audits, status="failed", error="Two audits failed."), lab.warehouse)

    assert report["timestamp"] == "2024-01-15T10:30:00.123456Z"
    assert report["environment"] == "dev"
    assert report["test_results"] == {"total": 5, "passed": 2, "failed": 2, "warnings": 1}
    assert report["layer_summary"] == {
        "source": {"tests": 1, "passed": 1, "failed": 0, "warnings": 0},
        "staging": {"tests": 2, "passed": 1, "failed": 0, "warnings": 1},
        "snapshots": {"tests": 0, "passed": 0, "failed": 0, "warnings": 0},
        "intermediate": {"tests": 1, "passed": 0, "failed": 1, "warnings": 0},
        "marts": {"tests": 1, "passed": 0, "failed": 1, "warnings": 0},
        "reference": {"tests": 0, "passed": 0, "failed": 0, "warnings": 0},
    }
    assert [(test["severity"], test["model"], test["message"]) for test in report["failed_tests"]] == [
        ("error", "intermediate.int_account_with_customer", "Found 2 duplicate values"),
        ("error", "marts.account_summary", "Found 1 missing value"),
        ("warn", "staging.quarantine_account", "Found 7 rows that break the rule"),
    ]
    assert report["failed_tests"][0] == {
        "test": "unique_values(account_id)",
        "model": "intermediate.int_account_with_customer",
        "severity": "error",
        "message": "Found 2 duplicate values",
        "failed_count": 2,
        "query": "SELECT 1 FROM intermediate.int_account_with_customer",
    }


def test_an_audit_of_a_layer_that_is_not_known_is_told_last(lab: Lab) -> None:
    audits = [outcome("x", "attic.old", failed=1), outcome("x", "reference.rate_change", failed=1)]
    report = build_report(run_record(audits=audits), lab.warehouse)
    assert [test["model"] for test in report["failed_tests"]] == ["reference.rate_change", "attic.old"]
    assert report["layer_summary"]["attic"] == {"tests": 1, "passed": 0, "failed": 1, "warnings": 0}


def test_report_tells_the_run(lab: Lab) -> None:
    report = build_report(run_record(), lab.warehouse)

    assert report["schema_version"] == 1
    assert (report["run_id"], report["status"], report["error"]) == ("20240115T102950Z-ab12", "succeeded", None)
    assert (report["gateway"], report["loaded_at"]) == ("duckdb", "2024-01-15T02:00:00.000001Z")
    assert (report["execution_time"], report["seconds"]) == ("2024-01-15T10:29:51.000000Z", 10.123)
    assert report["loads"][1] == {
        "loaded_at": "2024-01-15T02:00:00.000001Z", "feed": "account", "file_name": "accounts.csv",
        "sha256": "ab" * 32, "byte_count": 1234, "data_line_count": 105, "rows_read_count": 103, "new_count": 10,
        "changed_count": 20, "gone_count": 4, "unchanged_count": 70, "duplicate_count": 3, "rejected_count": 2,
        "encoding": "utf-8",
    }  # fmt: skip
    assert report["models"][1] == {"model": "marts.x", "layer": "marts", "seconds": 1.5, "rows": None}
    assert report["step_seconds"] == {"ingest": 0.5, "run": 2.0}
    assert report["exports"] == [
        {"path": "data/outputs/account_summary.csv", "rows": 7, "bytes": 1500, "sha256": "cd" * 32, "written": True}
    ]
    assert report["problems"] == {}


@pytest.mark.parametrize(
    ("status", "failed", "warned", "verdict", "headline"),
    [
        ("succeeded", 0, 0, "passed", "Passed: all 2 tests"),
        ("succeeded", 0, 1, "passed_with_warnings", "Passed with 1 warning"),
        ("failed", 0, 0, "failed", "The run failed"),
        ("failed", 1, 1, "failed", "Failed: 1 blocking test did not pass"),
        ("succeeded", 3, 0, "failed", "Failed: 1 blocking test did not pass"),
        ("running", 0, 0, "unfinished", "The run did not finish"),
    ],
)
def test_verdict_is_the_worst_of_run_and_tests(
    lab: Lab, status: str, failed: int, warned: int, verdict: str, headline: str
) -> None:
    audits = [outcome("a", "marts.m", "error", failed), outcome("b", "marts.m", "warn", warned)]
    report = build_report(run_record(status=status, audits=audits), lab.warehouse)
    assert (report["verdict"], text.headline(report)) == (verdict, headline)


def test_a_state_warns_as_often_as_its_part_of_the_report_counts(lab: Lab) -> None:
    for key in ("A1", "A2", "A3"):
        lab.bad_account(key, LOAD_2, "balance_missing")
    lab.bad_customer("7", LOAD_2, "has_loan_invalid")
    lab.account_version("A1", 3, LOAD_1)
    lab.unseen("A8", "A9")
    for loads in (run_record().loads, []):  # whatever the run loaded
        report = build_report(run_record(loads=loads), lab.warehouse)
        assert {warning["name"]: (warning["kind"], warning["count"]) for warning in report["warnings"]} == {
            "quarantine": ("state", text.total(report["quarantine"], "keys")),
            "standing_on_older_version": ("state", text.total(report["standing_on_older_version"], "count")),
            "held_back": ("state", report["held_back"]["count"]),
            "not_seen": ("state", text.total(report["not_seen"], "count")),
        }
        assert report["warnings"][0]["message"].startswith("1 customer and 3 accounts in quarantine")
        assert text.headline(report) == "Passed with 4 warnings"
    lab.connection.execute("DROP TABLE snapshots.snap_account")
    torn = build_report(run_record(), lab.warehouse)
    assert [warning["name"] for warning in torn["warnings"]] == ["quarantine", "not_seen"], "what could be read is told"


def test_what_a_load_warns_of_is_a_warning_of_its_run(lab: Lab) -> None:
    event = Event("removed", 2, "This load removed 2 of the 24 accounts known before.")
    report = build_report(run_record(events=[event]), lab.warehouse)
    assert report["verdict"] == "passed_with_warnings"
    assert report["warnings"] == [
        {"name": "removed", "kind": "event", "count": 2, "message": event.message},
    ]


def test_a_report_of_before_there_were_warnings_is_printed(lab: Lab) -> None:
    report = build_report(run_record(), lab.warehouse)
    del report["warnings"]
    report["verdict"], report["test_results"]["warnings"] = "passed_with_warnings", 2
    assert printed(report, 80).startswith("Passed with 2 warnings")


def test_quarantine_counts_a_key_by_its_latest_event_only(lab: Lab) -> None:
    lab.staged_account("GOOD", LOAD_1)
    lab.staged_account("WORSE", LOAD_1)
    lab.bad_account("WORSE", LOAD_2, "balance_missing")
    lab.bad_account("MENDED", LOAD_1, "balance_negative")
    lab.staged_account("MENDED", LOAD_2)
    lab.bad_account("LEFT", LOAD_1, "balance_negative")
    lab.staged_account("LEFT", LOAD_2, deleted=True)
    lab.bad_account("", LOAD_1, "account_id_missing")
    lab.bad_account("", LOAD_2, "account_id_missing", deleted=True)
    lab.bad_account("STILL", LOAD_1, "balance_negative")
    lab.bad_account("STILL", LOAD_2, "balance_missing, account_type_invalid")

    content = build_report(run_record(), lab.warehouse)["quarantine"]["account"]

    assert (content["keys"], content["rows"]) == (2, 2)
    assert reasons_of(content) == {
        "balance_missing": (2, 2, ["STILL", "WORSE"]),
        "account_type_invalid": (1, 1, ["STILL"]),
    }
    assert content["reasons"][0]["reason"] == "balance_missing"


def test_quarantine_counts_conflicting_rows_as_one_key(lab: Lab) -> None:
    lab.bad_account("A1", LOAD_2, "conflicting_rows")
    lab.bad_account("A1", LOAD_2, "balance_missing, conflicting_rows")
    lab.bad_account("A2", LOAD_2, "balance_missing")
    lab.bad_account(None, LOAD_2, "account_id_missing")

    content = build_report(run_record(), lab.warehouse)["quarantine"]["account"]

    assert (content["keys"], content["rows"]) == (3, 4)
    assert reasons_of(content) == {
        "balance_missing": (2, 2, ["A1", "A2"]),
        "conflicting_rows": (1, 2, ["A1"]),
        "account_id_missing": (1, 1, [""]),
    }


def test_quarantine_shows_the_first_five_keys_in_order(lab: Lab) -> None:
    for number in (7, 3, 9, 1, 8, 2, 5):
        lab.bad_customer(str(number), LOAD_2, "customer_name_missing")
    content = build_report(run_record(), lab.warehouse)["quarantine"]["customer"]
    assert reasons_of(content) == {"customer_name_missing": (7, 7, ["1", "2", "3", "5", "7"])}


def test_older_versions_are_open_versions_with_their_newest_row_in_quarantine(lab: Lab) -> None:
    for key in (2, 10):
        lab.customer_version(key, LOAD_1)
        lab.bad_customer(str(key), LOAD_2, "has_loan_invalid")
    lab.bad_customer("3", LOAD_2, "has_loan_invalid")
    lab.customer_version(4, LOAD_1, LOAD_2)
    lab.bad_customer("4", LOAD_2, "has_loan_invalid")
    lab.customer_version(5, LOAD_1)
    lab.account_version("A1", 2, LOAD_1)
    lab.bad_account("A1", LOAD_2, "balance_missing, conflicting_rows")
    lab.bad_account("A1", LOAD_2, "conflicting_rows")
    lab.account_version("A2", 2, LOAD_2)
    lab.bad_account("A2", LOAD_1, "balance_missing")
    lab.staged_account("A2", LOAD_2)

    assert build_report(run_record(), lab.warehouse)["standing_on_older_version"] == {
        "customer": {"count": 2, "sample_keys": ["2", "10"]},
        "account": {"count": 1, "sample_keys": ["A1"]},
    }


def test_held_back_accounts_are_told_apart_by_why(lab: Lab) -> None:
    lab.customer_version(1, LOAD_1, LOAD_2)
    lab.customer_version(1, LOAD_2)
    lab.customer_version(2, LOAD_1, LOAD_2)
    lab.account_version("FINE", 1, LOAD_1)
    lab.account_version("GONE-B", 2, LOAD_1)
    lab.account_version("GONE-A", 2, LOAD_1)
    lab.account_version("UNKNOWN", 3, LOAD_1)
    lab.account_version("ENDED", 3, LOAD_1, LOAD_2)

    assert build_report(run_record(), lab.warehouse)["held_back"] == {
        "count": 3,
        "customer_unknown": {"count": 1, "sample_keys": ["UNKNOWN"]},
        "customer_gone": {"count": 2, "sample_keys": ["GONE-A", "GONE-B"]},
    }


def test_versions_are_counted_and_those_of_this_run_told(lab: Lab) -> None:
    lab.customer_version(1, LOAD_1, LOAD_2)
    lab.customer_version(1, LOAD_2)
    lab.customer_version(2, LOAD_1, LOAD_2)
    lab.customer_version(3, LOAD_2)
    report = build_report(run_record(), lab.warehouse)
    assert report["versions"] == {
        "snap_customer": {
            "total": 4, "current": 2, "historical": 2, "keys": 3, "average_per_key": 1.333, "opened": 2, "closed": 2,
        },
        "snap_account": {
            "total": 0, "current": 0, "historical": 0, "keys": 0, "average_per_key": None, "opened": 0, "closed": 0,
        },
    }  # fmt: skip

    idle = build_report(run_record(loads=[]), lab.warehouse)
    assert (idle["versions"]["snap_customer"]["opened"], idle["versions"]["snap_customer"]["closed"]) == (0, 0)


def test_rejects_of_this_run_are_counted_by_reason(lab: Lab) -> None:
    for line in (30, 4, 5, 6, 7, 8):
        lab.reject("accounts.csv", line, "wrong_field_count")
    lab.reject("Customer.csv", 2, "broken_quoting")
    lab.reject("accounts.csv", 99, "broken_quoting", at=LOAD_1)

    assert build_report(run_record(), lab.warehouse)["rejects"] == {
        "total": 7,
        "reasons": [
            {
                "reason": "wrong_field_count",
                "count": 6,
                "sample_lines": [f"accounts.csv:{line}" for line in (4, 5, 6, 7, 8)],
            },
            {"reason": "broken_quoting", "count": 1, "sample_lines": ["Customer.csv:2"]},
        ],
    }
    assert build_report(run_record(loads=[]), lab.warehouse)["rejects"] == {"total": 0, "reasons": []}


def test_keys_not_seen_are_those_of_the_newest_file(lab: Lab) -> None:
    lab.unseen("A1", "A2", at=LOAD_1)
    lab.unseen("A2", "A3")
    assert build_report(run_record(), lab.warehouse)["not_seen"] == {
        "customer": {"count": 0, "sample_keys": []},
        "account": {"count": 2, "sample_keys": ["A2", "A3"]},
    }
    lab.unseen(at=LOAD_2 + timedelta(days=1))
    assert build_report(run_record(), lab.warehouse)["not_seen"]["account"] == {"count": 0, "sample_keys": []}


def test_mart_rows_are_counted(lab: Lab) -> None:
    lab.connection.execute("INSERT INTO marts.account_summary VALUES ('A1'), ('A2')")
    lab.connection.execute("INSERT INTO marts.customer_profile VALUES (1)")
    report = build_report(run_record(), lab.warehouse)
    assert report["mart_rows"] == {"account_summary": 2, "customer_profile": 1}


def test_no_name_and_no_balance_reaches_the_report(lab: Lab, tmp_path: Path) -> None:
    lab.bad_customer("1", LOAD_2, "has_loan_invalid")
    lab.bad_customer(f"{NAME} Smith", LOAD_2, "customer_id_invalid")
    lab.bad_account("A1", LOAD_2, "account_type_invalid")
    lab.staged_customer(1, LOAD_1)
    lab.customer_version(1, LOAD_1)
    lab.account_version("A1", 1, LOAD_1)
    lab.account_version("A2", 99, LOAD_1)
    lab.reject("accounts.csv", 3, "wrong_field_count")

    path = write_report(build_report(run_record(), lab.warehouse), tmp_path)

    files = (path.read_text(), path.with_suffix(".html").read_text())
    for output in files:
        assert "A1" in output  # the report is not merely empty
        assert "Xxxxxxx Xxxxx" in output
    for output in (*files, printed(latest_report(tmp_path), 200)):
        assert NAME not in output
        assert BALANCE not in output


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        ("A-17", "A-17"),
        ("abc", "abc"),
        ("12 34", "12 34"),
        ("123-456", "123-456"),
        ("A.5", "A.5"),
        ("Jane Doe", "Xxxx Xxx"),
        ("Łukasz O'Neil 3rd", "Xxxxxx X'Xxxx 3xx"),
        ("777123.45", "999999.99"),
        ("-5000", "-9999"),
        ("1 250,00", "9 999,99"),
        ("€ 12", "€ 99"),
        ("k" * 100, "k" * 63 + "…"),
    ],
)
def test_a_key_that_may_be_a_name_or_a_balance_is_shown_by_its_shape(key: str, shown: str) -> None:
    assert figures.shown_key(key) == shown


@pytest.mark.parametrize(("key", "shown"), [("Jane", "Xxxx"), ("田中", "xx"), ("C-20", "C-20"), ("", "")])
def test_a_word_is_no_customer_s_key(key: str, shown: str) -> None:
    assert figures.shown_key(key, "customer") == shown


class DeadWarehouse(DuckDBWarehouse):
    def __init__(self) -> None:
        super().__init__(duckdb.connect())
        self.calls = 0

    def fetch(self, sql: str) -> list[tuple[Any, ...]]:
        self.calls += 1
        raise ConnectionError("the server hung up\nwith a second line")


TABLE_SECTIONS = [
    "rejects", "quarantine.customer", "quarantine.account", "standing_on_older_version.customer",
    "standing_on_older_version.account", "held_back", "not_seen.customer", "not_seen.account",
    "versions.snap_customer", "versions.snap_account", "mart_rows",
]  # fmt: skip


def failed_record() -> RunRecord:
    message = "data/inputs/accounts.csv is empty: send it again."
    return run_record(status="failed", error=message, loads=[], audits=[], models=[], exports=[], step_seconds={})


def test_failed_run_without_a_warehouse_still_has_its_report(tmp_path: Path) -> None:
    path = write_report(build_report(failed_record(), None), tmp_path)

    report = json.loads(path.read_text())
    assert (report["status"], report["verdict"]) == ("failed", "failed")
    assert report["error"] == "data/inputs/accounts.csv is empty: send it again."
    assert report["test_results"] == {"total": 0, "passed": 0, "failed": 0, "warnings": 0}
    assert report["problems"] == dict.fromkeys(TABLE_SECTIONS, "There was no connection to the warehouse.")
    assert report["held_back"] is None
    assert report["quarantine"] == {"customer": None, "account": None}
    for output in (path.with_suffix(".html").read_text(), printed(report, 80)):
        assert "accounts.csv is empty: send it again." in " ".join(output.split())
        assert "There was no connection to the warehouse." in output


def test_unreachable_warehouse_is_asked_once() -> None:
    warehouse = DeadWarehouse()
    report = build_report(failed_record(), warehouse)
    assert warehouse.calls == 1
    assert set(report["problems"]) == set(TABLE_SECTIONS)
    assert report["problems"]["mart_rows"] == "The warehouse could not be reached: the server hung up"


def test_missing_table_empties_only_the_sections_that_read_it(lab: Lab) -> None:
    lab.connection.execute("DROP TABLE snapshots.snap_account")
    lab.bad_customer("1", LOAD_2, "has_loan_invalid")
    lab.bad_account("A1", LOAD_2, "balance_missing")

    report = build_report(run_record(status="failed", error="No."), lab.warehouse)

    assert set(report["problems"]) == {"standing_on_older_version.account", "held_back", "versions.snap_account"}
    assert "snap_account does not exist" in report["problems"]["held_back"]
    assert report["held_back"] is None
    assert report["versions"]["snap_account"] is None
    assert report["versions"]["snap_customer"]["total"] == 0
    assert report["quarantine"]["account"]["keys"] == 1
    assert "snap_account does not exist" in render_html(report)
    assert "snap_account does not exist" in printed(report, 200)


def test_a_report_with_parts_missing_has_not_passed(lab: Lab) -> None:
    lab.connection.execute("DROP TABLE snapshots.snap_account")
    report = build_report(run_record(status="succeeded"), lab.warehouse)
    assert report["verdict"] == "incomplete"
    assert text.headline(report) == "Incomplete: 3 parts of this report could not be read"
    for shown in (render_html(report), printed(report, 200)):
        assert "Incomplete: 3 parts of this report could not be read" in shown


HOSTILE = "<script>alert('1')</script>&\"[bold red]\x1b[31m\u202e"


class Page(HTMLParser):
    """What a browser would make of the page: its elements, attributes and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += f"{data} "


def another_feed(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Declares a feed with a text key, and gives it the table of its judged rows."""
    declared = tuple(
        Column.model_construct(name=name, header=name, type="string", is_required=True, is_key=is_key)
        for name, is_key in (("currency_code", True), ("rate", False))
    )
    rates = Feed.model_construct(name="currency_rate", file_name="rates.csv", declared=declared)
    monkeypatch.setattr(quality_report, "FEEDS", (*FEEDS, rates))
    lab.connection.execute(
        "CREATE TABLE staging.judged_currency_rate (loaded_at TIMESTAMP, is_deleted_flag BOOLEAN, "
        "currency_rate_key VARCHAR, currency_code VARCHAR, reasons VARCHAR)"
    )
    for key, reasons in (("USD", ""), ("EUR", "rate_missing"), ("CHF", "rate_missing")):
        lab.judged("currency_rate", LOAD_1, False, key, key, reasons)
    lab.judged("currency_rate", LOAD_2, False, "CHF", "CHF", "")


def test_a_feed_without_a_snapshot_has_the_other_parts(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    another_feed(lab, monkeypatch)
    report = build_report(run_record(), lab.warehouse)
    assert report["problems"] == {}
    assert set(report["quarantine"]) == set(report["not_seen"]) == {"customer", "account", "currency_rate"}
    assert reasons_of(report["quarantine"]["currency_rate"]) == {"rate_missing": (1, 1, ["EUR"])}
    assert set(report["standing_on_older_version"]) == {"customer", "account"}
    assert set(report["versions"]) == {"snap_customer", "snap_account"}
    page = Page(render_html(report)).text
    for output in (page, printed(report, 80)):
        assert "1 currency rate in quarantine: the newest row breaks a rule." in output
    assert "currency rates" in page


@pytest.mark.parametrize("model", ["snap_currency_rate.sql", "snap_@feed.sql"])
def test_a_snapshot_with_a_text_key_is_told_as_any_other(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: str
) -> None:
    another_feed(lab, monkeypatch)
    models = tmp_path / "models" / "snapshots"
    models.mkdir(parents=True)
    (models / model).touch()
    monkeypatch.setattr(figures, "PROJECT_ROOT", tmp_path)
    lab.connection.execute(
        "CREATE TABLE snapshots.snap_currency_rate AS SELECT * FROM (VALUES ('USD', TIMESTAMP '2024-01-14 02:00:00', "
        "NULL::TIMESTAMP), ('EUR', TIMESTAMP '2024-01-14 02:00:00', NULL)) "
        "AS version(currency_code, valid_from_at, valid_to_at)"
    )
    report = build_report(run_record(), lab.warehouse)
    assert report["problems"] == {}
    assert report["standing_on_older_version"]["currency_rate"] == {"count": 1, "sample_keys": ["EUR"]}
    assert (report["versions"]["snap_currency_rate"]["keys"], report["versions"]["snap_currency_rate"]["current"]) == (
        2,
        2,
    )


def hostile_report(lab: Lab) -> dict[str, Any]:
    lab.bad_account(HOSTILE.replace(" ", ""), LOAD_2, "balance_missing")
    audits = [AuditOutcome(HOSTILE, HOSTILE, "marts", "error", 1, HOSTILE)]
    files = [ExportedFile(HOSTILE, 1, 1, "cd" * 32, True)]
    loads = [feed_load("customer", HOSTILE)]
    return build_report(
        run_record(status="failed", error=HOSTILE, audits=audits, exports=files, loads=loads, environment=HOSTILE),
        lab.warehouse,
    )


def test_page_escapes_hostile_values(lab: Lab) -> None:
    page = Page(render_html(hostile_report(lab)))
    assert "script" not in page.tags
    assert page.text.count("<script>alert('1')</script>&\"[bold red]") >= 6
    assert "<script>alert('1')</script>&\"[boldred]\\u001b[31m\\u202e" in page.text  # the sample key


def test_page_needs_no_network_and_no_script(lab: Lab) -> None:
    page = render_html(build_report(run_record(), lab.warehouse))
    parsed = Page(page)
    assert not parsed.tags & {"script", "link", "img", "iframe", "object", "embed"}
    assert not parsed.attributes & {"src", "href", "srcset", "onclick", "onload"}
    assert not re.search(r"https?:|url\(|@import", page)


def test_console_prints_hostile_values_as_text(lab: Lab) -> None:
    output = printed(hostile_report(lab), 400)
    assert "[bold red]" in output
    assert "\x1b" not in output
    assert "\u202e" not in output


@pytest.mark.parametrize("width", [80, 120])
def test_console_form_fits_the_width_and_tells_the_figures(lab: Lab, width: int) -> None:
    lab.bad_account("A1", LOAD_2, "balance_missing")
    lab.account_version("A1", 3, LOAD_1)
    lab.customer_version(1, LOAD_2)
    lab.unseen("A9")
    output = printed(build_report(run_record(), lab.warehouse), width)

    assert max(map(len, output.splitlines())) <= width
    assert "…" not in output
    for words in (
        "Passed with 4 warnings",
        "1 account in quarantine: the newest row breaks a rule.",
        "1 account on an older version: the newest row is in quarantine.",
        "1 account held back: the customer is unknown or gone.",
        "1 account not seen in a file with unreadable lines.",
        "206 rows read from 2 files: 20 new, 40 changed, 140 unchanged, 6 duplicate; 4 lines rejected; 8 keys gone.",
        "file rows new changed unchanged duplicate rejected gone Customer.csv 103 10 20 70 3 2 4",
        "account_summary 0 rows · customer_profile 0 rows · 2 tests passed",
    ):
        assert words in re.sub(r"\s+", " ", output)


def test_page_tells_the_figures(lab: Lab) -> None:
    lab.bad_account("A1", LOAD_2, "balance_missing")
    lab.unseen("A9")
    audits = [outcome("unique_values(x)", "staging.stg_account", "warn", 2)]
    words = " ".join(Page(render_html(build_report(run_record(audits=audits), lab.warehouse))).text.split())
    for expected in (
        "3 warnings 1 account in quarantine: the newest row breaks a rule. "
        "1 account not seen in a file with unreadable lines. "
        "unique_values(x) on staging.stg_account found 2 rows in the window of this run.",
        "Passed with 3 warnings",
        "Found 2 duplicate values in staging.stg_account .",
        "SELECT 1 FROM staging.stg_account",
        "balance missing 1 key",
        "105 lines, 103 rows read · 1.2 kB",
        "new 10 changed 20 unchanged 70 duplicate 3 rejected 2 keys gone 4",
        "not seen in a file with unreadable lines",
        "accounts 1 A9",
        "account_summary.csv",
        "cd" * 32,
    ):
        assert expected in words


def test_files_are_named_after_the_time_and_the_page_stands_beside_the_data(lab: Lab, tmp_path: Path) -> None:
    report = build_report(run_record(), lab.warehouse)
    path = write_report(report, tmp_path / "new" / "folder")

    assert path.name == "quality_report_20240115T103000_123456Z.json"
    assert sorted(entry.name for entry in path.parent.iterdir()) == [
        "quality_report_20240115T103000_123456Z.html",
        "quality_report_20240115T103000_123456Z.json",
    ]
    assert json.loads(path.read_text(encoding="utf-8")) == report


def test_latest_report_is_the_newest(lab: Lab, tmp_path: Path) -> None:
    for seconds in (10, 200, 30):
        finished = FINISHED + timedelta(seconds=seconds)
        write_report(build_report(run_record(finished_at=finished, run_id=f"run {seconds}"), lab.warehouse), tmp_path)
    (tmp_path / "quality_report_notes.json").write_text("{}")
    (tmp_path / ".quality_report_20990101T000000_000000Z.json.tmp-1").write_text("{")

    assert latest_report(tmp_path)["run_id"] == "run 200"
    path = latest_report_path(tmp_path)
    assert path is not None
    assert path.name == "quality_report_20240115T103320_123456Z.json"


def test_leftover_of_a_killed_write_is_removed_by_the_next(lab: Lab, tmp_path: Path) -> None:
    leftover = tmp_path / ".quality_report_20240101T000000_000000Z.json.tmp-1"
    leftover.write_text("{")
    write_report(build_report(run_record(), lab.warehouse), tmp_path)
    assert not leftover.exists()


def test_no_report_yet_is_a_sentence(tmp_path: Path) -> None:
    assert latest_report_path(tmp_path / "none") is None
    with pytest.raises(PipelineError, match="There is no quality report in"):
        latest_report(tmp_path)


def test_folder_that_cannot_be_written_is_a_sentence(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "reports").write_text("I am a file")
    with pytest.raises(PipelineError, match="set QUALITY_REPORTS_PATH"):
        write_report(build_report(run_record(), lab.warehouse), tmp_path / "reports")


def test_error_with_bytes_that_are_no_text_is_written(lab: Lab, tmp_path: Path) -> None:
    report = build_report(run_record(status="failed", error="No file caf\udce9.csv"), lab.warehouse)
    write_report(report, tmp_path)
    assert latest_report(tmp_path)["error"] == "No file caf\udce9.csv"


def test_commit_is_that_of_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.invalid"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    monkeypatch.setattr(quality_report, "PROJECT_ROOT", tmp_path.resolve())
    git("init")
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "-m", "one")
    report = build_report(failed_record(), None)
    assert (report["git_commit"], report["git_dirty"]) == (git("rev-parse", "HEAD"), False)

    (tmp_path / "file").write_text("2")
    report = build_report(failed_record(), None)
    assert (report["git_commit"], report["git_dirty"]) == (git("rev-parse", "HEAD"), True)

    # A project unpacked inside a repository of something else has no commit of its own.
    (tmp_path / "inner").mkdir()
    monkeypatch.setattr(quality_report, "PROJECT_ROOT", tmp_path.resolve() / "inner")
    report = build_report(failed_record(), None)
    assert (report["git_commit"], report["git_dirty"]) == (None, None)


def test_report_without_git_has_no_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    report = build_report(failed_record(), None)
    assert (report["git_commit"], report["git_dirty"]) == (None, None)


def test_every_query_can_be_said_on_databricks(lab: Lab) -> None:
    lab.bad_account("A1", LOAD_2, "balance_missing, account_type_invalid")
    lab.bad_customer("1", LOAD_2, "has_loan_invalid")
    queries: list[str] = []

    class Recording(DuckDBWarehouse):
        def fetch(self, sql: str) -> list[tuple[Any, ...]]:
            queries.append(sql)
            return super().fetch(sql)

    report = build_report(run_record(), Recording(lab.connection))

    assert report["problems"] == {}
    assert len(queries) >= 15
    for query in queries:
        said = sqlglot.transpile(query, read="duckdb", write="databricks", unsupported_level=sqlglot.ErrorLevel.RAISE)[
            0
        ]
        assert "QUALIFY" not in said
        assert "TIMESTAMP)" not in said  # times without zone are TIMESTAMP_NTZ there


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ({"new": 64, "duplicate": 2, "rejected": 1}, "66 rows read from 1 file: 64 new, 2 duplicate; 1 line rejected."),
        ({"unchanged": 1, "gone": 1}, "1 row read from 1 file: 1 unchanged; 1 key gone."),
        ({"rejected": 2}, "0 rows read from 1 file; 2 lines rejected."),
    ],
)
def test_the_rows_read_add_up_and_what_is_no_row_is_set_apart(parts: dict[str, int], sentence: str) -> None:
    counts = {f"{part}_count": parts.get(part, 0) for part in (*text.LINE_PARTS, "gone")}
    read = sum(counts[f"{part}_count"] for part in text.ROW_PARTS)
    assert text.summary({"loads": [{**counts, "rows_read_count": read}]}) == sentence


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "–"), (0.0004, "0 ms"), (0.25, "250 ms"), (0.9996, "1.0 s"), (59.96, "1 min 00 s"), (61, "1 min 01 s"),
     (3725, "1 h 02 min")],
)  # fmt: skip
def test_durations_read_well(value: float | None, shown: str) -> None:
    assert text.seconds(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (99_949, "99.9 kB"), (999_499, "999 kB"),
     (999_500, "1.0 MB"), (2_500_000_000, "2.5 GB")],
)  # fmt: skip
def test_sizes_read_well(value: int, shown: str) -> None:
    assert text.size(value) == shown
