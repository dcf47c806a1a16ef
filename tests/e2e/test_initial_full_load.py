"""The first run on the sample feed: what a person has on disk after `make run` in a fresh clone."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
from click.testing import CliRunner

from scripts.outputs.export import check_outputs
from scripts.pipeline import cli
from scripts.settings import PROJECT_ROOT
from tests.compare import assert_same_rows
from tests.e2e.processes import run
from tests.e2e.sample import copy_sample, read_load
from tests.lab import TABLES, Rows, assert_same_tables, environment_of, file_bytes, stored_tables
from tests.reference import Reference

REPORT_KEYS = {
    "schema_version",
    "timestamp",
    "environment",
    "run_id",
    "status",
    "test_results",
    "layer_summary",
    "failed_tests",
    "loads",
    "rejects",
    "quarantine",
    "standing_on_older_version",
    "held_back",
    "not_seen",
    "versions",
    "mart_rows",
    "models",
    "step_seconds",
    "exports",
    "git_commit",
}


@dataclass(frozen=True)
class FirstRun:
    """What the process left behind."""

    folder: Path
    ended: subprocess.CompletedProcess[str]
    tables: dict[str, Rows]
    loads: Rows
    rejects: Rows
    report: dict[str, Any]
    reference: Reference


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FirstRun]:
    folder = tmp_path_factory.mktemp("first")
    inputs = copy_sample(folder)
    with environment_of(folder):
        ended = subprocess.run(
            [sys.executable, "-m", "scripts.pipeline", "run"],
            cwd=PROJECT_ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
            env={**os.environ, "PYTHONPROFILEIMPORTTIME": "1"},
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        stored = stored_tables(folder, (*TABLES, "landing.load", "landing.reject"))
        loads, rejects = stored.pop("landing.load"), stored.pop("landing.reject")
        (path,) = (folder / "quality_reports").glob("quality_report_*.json")
        reference = Reference()
        reference.take(read_load(inputs, loads[0]["loaded_at"])[0])
        yield FirstRun(folder, ended, stored, loads, rejects, json.loads(path.read_text("utf-8")), reference)


def test_every_table_equals_the_reference(first: FirstRun) -> None:
    assert_same_tables(first.reference.tables(), first.tables)


def test_every_line_of_both_files_is_accounted_for(first: FirstRun) -> None:
    load, rejected = read_load(first.folder / "inputs", first.loads[0]["loaded_at"])
    counts = {row["feed"]: row for row in first.loads}
    assert {feed: row["rejected_count"] for feed, row in counts.items()} == rejected
    assert counts["customer"]["rows_read_count"] == len(load.customer)
    assert counts["account"]["rows_read_count"] == len(load.account)
    assert len(first.rejects) == sum(rejected.values()) > 0, "the sample has a damaged line"


def test_the_marts_are_exported_as_csv_and_parquet_with_a_manifest(first: FirstRun) -> None:
    outputs = first.folder / "outputs"
    assert set(file_bytes(outputs)) == {
        "account_summary.csv",
        "account_summary.parquet",
        "customer_profile.csv",
        "customer_profile.parquet",
        "manifest.json",
    }
    assert check_outputs(outputs) == []
    for mart, key in (("account_summary", "account_id"), ("customer_profile", "customer_id")):
        with duckdb.connect() as connection:
            relation = connection.sql(f"SELECT * FROM read_parquet('{outputs / mart}.parquet')")
            rows = [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]
        assert_same_rows(first.tables[f"marts.{mart}"], rows, mart)
        assert [row[key] for row in rows] == sorted(row[key] for row in rows)
        with (outputs / f"{mart}.csv").open(newline="", encoding="utf-8") as file:
            assert [line[key] for line in csv.DictReader(file)] == [str(row[key]) for row in rows]


def test_the_run_says_what_it_did(first: FirstRun) -> None:
    for step in ("ingest", "plan", "reconcile", "export"):
        assert f"\n{step}  " in f"\n{first.ended.stdout}"
    assert "Quality report: " in first.ended.stdout
    assert "Traceback" not in first.ended.stdout + first.ended.stderr


def test_nothing_of_databricks_is_loaded_without_its_settings(first: FirstRun) -> None:
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in first.ended.stderr.splitlines()}
    assert "sqlmesh" in imported
    assert not imported & {"databricks", "thrift", "pyspark", "psycopg2"}


def test_the_report_is_complete(first: FirstRun) -> None:
    report = first.report
    assert report.keys() >= REPORT_KEYS
    assert report["problems"] == {}
    assert report["status"] == "succeeded"
    results = report["test_results"]
    assert results["total"] == results["passed"] + results["warnings"] > 0
    assert results["failed"] == 0
    assert sum(layer["tests"] for layer in report["layer_summary"].values()) == results["total"]
    assert set(report["layer_summary"]) == {"source", "staging", "snapshots", "intermediate", "marts", "reference"}
    assert all(layer["tests"] for layer in report["layer_summary"].values())
    assert {load["file_name"] for load in report["loads"]} == {"Customer.csv", "accounts.csv"}
    assert report["rejects"]["total"] == len(first.rejects)
    assert report["mart_rows"] == {
        mart: len(first.tables[f"marts.{mart}"]) for mart in ("account_summary", "customer_profile")
    }
    counts = {table: len(rows) for table, rows in first.tables.items() if not table.startswith("landing.")}
    judged = {
        f"staging.judged_{feed}": counts[f"staging.stg_{feed}"] + counts[f"staging.quarantine_{feed}"]
        for feed in ("customer", "account")
    }
    assert {model["model"]: model["rows"] for model in report["models"]} == {
        **counts,
        **judged,
        "reference.rate_change": 1,
    }
    for feed in ("customer", "account"):
        versions = report["versions"][f"snap_{feed}"]
        assert versions["opened"] == versions["current"] == len(first.tables[f"snapshots.snap_{feed}"])
        assert report["quarantine"][feed]["rows"] == len(first.tables[f"staging.quarantine_{feed}"])
    assert datetime.fromisoformat(report["loaded_at"]).replace(tzinfo=None) == first.loads[0]["loaded_at"]


def test_the_report_names_no_customer(first: FirstRun) -> None:
    content = "".join(path.read_text("utf-8") for path in (first.folder / "quality_reports").iterdir())
    names = {row["customer_name"] for row in first.tables["staging.stg_customer"]}
    assert [name for name in names if name in content] == []


class TestStepsAlone:
    """Each after the finished first run, which they leave as it is."""

    def test_status_finds_nothing_to_do(self, first: FirstRun) -> None:
        ended = run(first.folder, "status")
        assert ended.exit_code == 0, ended.output
        assert "1 taken" in ended.output
        assert str(first.folder / "outputs") in ended.output
        report = max((first.folder / "quality_reports").glob("*.json"))
        verdict = json.loads(report.read_text(encoding="utf-8"))["verdict"]
        assert f"{report}: {verdict}" in ended.output

    def test_export_writes_no_byte_anew_and_restores_what_is_gone(self, first: FirstRun) -> None:
        before = file_bytes(first.folder / "outputs")
        (first.folder / "outputs" / "customer_profile.csv").unlink()
        assert run(first.folder, "status").exit_code == 1
        assert run(first.folder, "export").exit_code == 0
        assert file_bytes(first.folder / "outputs") == before

    def test_the_latest_report_is_printed_readably(self, first: FirstRun) -> None:
        ended = run(first.folder, "report", "--latest")
        assert ended.exit_code == 0, ended.output
        assert first.report["run_id"] in ended.output
        assert "too few fields: 1 line  accounts.csv:37" in ended.output

    def test_report_audits_all_and_writes_another_report(self, first: FirstRun) -> None:
        ended = run(first.folder, "report", "--full")
        assert ended.exit_code == 0, ended.output
        assert len(list((first.folder / "quality_reports").glob("*.json"))) == 2
        assert_same_tables(first.tables, stored_tables(first.folder))


ALLOW_OPTIONS = ("--allow-removals", "--allow-quarantine", "--allow-shift")


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("run", ["--as-of", "--inputs", *ALLOW_OPTIONS, "--full-refresh", "--deploy", "--breaking"]),
        ("ingest", ["--as-of", "--inputs", *ALLOW_OPTIONS]),
        ("transform", ["--as-of", "--full-refresh", "--deploy", "--breaking"]),
        ("export", []),
        ("report", ["--latest", "--full"]),
        ("audit", ["--model", "--audit"]),
        ("status", []),
    ],
)
def test_each_command_explains_itself(command: str, options: list[str]) -> None:
    help_text = CliRunner().invoke(cli, [command, "--help"]).output
    for option in options:
        assert option in help_text
    assert len(help_text.splitlines()[2].strip()) > 20, "a sentence says what it does"
    overview = CliRunner().invoke(cli, ["--help"]).output
    assert command in overview
    assert "Exit codes: 0 done" in overview
