"""Later runs on the sample feed: nothing changes where nothing changed, and no more than what did."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from scripts.clock import utc_now
from tests.e2e.processes import run
from tests.e2e.sample import copy_sample, read_load, replace_line
from tests.lab import TABLES, Rows, assert_same_tables, environment_of, file_bytes, select, stored_tables
from tests.reference import Reference

STORED = (*TABLES, "landing.reject", "landing.load", "landing.run")


@dataclass(frozen=True)
class After:
    """Tables, exports and newest report after a run."""

    tables: dict[str, Rows]
    outputs: dict[str, str]
    report: dict[str, Any]

    def added(self, before: After, table: str) -> Rows:
        return [row for row in self.tables[table] if row not in before.tables[table]]

    def removed(self, before: After, table: str) -> Rows:
        return [row for row in before.tables[table] if row not in self.tables[table]]


@dataclass(frozen=True)
class Runs:
    folder: Path
    first: After
    second: After
    third: After
    reference: Reference


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Three runs: the sample, the same files again, and one customer's name and loan flag and one balance changed."""
    folder = tmp_path_factory.mktemp("later")
    inputs = copy_sample(folder)
    reference = Reference()
    states = []
    with environment_of(folder):
        for number in range(3):
            if number == 2:
                replace_line(inputs / "Customer.csv", "1,Alice Johnson,Yes", "1,Alice Meyer,No")
                replace_line(inputs / "accounts.csv", "A003,2,9999.99,Savings", "A003,2,10000.00,Savings")
            ended = run(folder, "run")
            assert ended.exit_code == 0, ended.output
            state = after(folder)
            loaded_at = max(row["loaded_at"] for row in state.tables["landing.load"])
            reference.take(read_load(inputs, loaded_at)[0])
            states.append(state)
    first, second, third = states
    return Runs(folder, first, second, third, reference)


def after(folder: Path) -> After:
    newest_report = max((folder / "quality_reports").glob("*.json"))
    return After(
        stored_tables(folder, STORED), file_bytes(folder / "outputs"), json.loads(newest_report.read_text("utf-8"))
    )


class TestSecondRunWithTheSameFiles:
    def test_changes_no_table_row_but_the_ledgers(self, runs: Runs) -> None:
        unchanged = [table for table in STORED if table not in ("landing.load", "landing.run", "landing.reject")]
        assert_same_tables(
            {table: runs.first.tables[table] for table in unchanged},
            {table: runs.second.tables[table] for table in unchanged},
        )
        for table, new_rows in (("landing.load", 2), ("landing.run", 1)):
            assert len(runs.second.added(runs.first, table)) == new_rows
            assert runs.second.removed(runs.first, table) == []

    def test_accounts_for_its_damaged_lines_once_more(self, runs: Runs) -> None:
        """The ledger of each load counts them, so each load keeps them."""
        rejects = runs.second.tables["landing.reject"]
        for load in runs.second.tables["landing.load"]:
            assert len(select(rejects, loaded_at=load["loaded_at"], feed=load["feed"])) == load["rejected_count"]

    def test_changes_no_byte_under_outputs(self, runs: Runs) -> None:
        assert runs.second.outputs == runs.first.outputs
        assert not any(export["written"] for export in runs.second.report["exports"])

    def test_reports_that_nothing_changed(self, runs: Runs) -> None:
        for load in runs.second.report["loads"]:
            assert load["new_count"] == load["changed_count"] == load["gone_count"] == 0
        for versions in runs.second.report["versions"].values():
            assert versions["opened"] == versions["closed"] == 0


class TestThirdRunWithOneCustomerAndOneBalanceChanged:
    def test_every_table_equals_the_reference(self, runs: Runs) -> None:
        assert_same_tables(runs.reference.tables(), {table: runs.third.tables[table] for table in TABLES})

    def test_opens_exactly_two_versions(self, runs: Runs) -> None:
        opened = {
            table: [row for row in runs.third.added(runs.second, table) if row["valid_to_at"] is None]
            for table in ("snapshots.snap_customer", "snapshots.snap_account")
        }
        (customer,), (account,) = opened.values()
        assert (customer["customer_id"], customer["customer_name"]) == (1, "Alice Meyer")
        assert customer["has_loan_flag"] is False
        assert (account["account_id"], account["balance_amount"]) == ("A003", Decimal("10000.00"))
        assert {name: (v["opened"], v["closed"]) for name, v in runs.third.report["versions"].items()} == {
            "snap_customer": (1, 1),
            "snap_account": (1, 1),
        }

    def test_changes_exactly_the_rows_that_depend_on_them(self, runs: Runs) -> None:
        keys = {
            "snapshots.snap_customer": ("customer_id", [1, 1]),  # ended and opened
            "snapshots.snap_account": ("account_id", ["A003", "A003"]),
            "landing.customer": ("customer_key", ["1"]),
            "landing.account": ("account_key", ["A003"]),
            "source.src_customer": ("customer_key", ["1"]),
            "source.src_account": ("account_key", ["A003"]),
            "staging.stg_customer": ("customer_id", [1]),
            "staging.stg_account": ("account_id", ["A003"]),
            "intermediate.int_account_with_customer": ("account_id", ["A001", "A002", "A003"]),
            "intermediate.int_savings_account_only": ("account_id", ["A001", "A002", "A003"]),
            "marts.account_summary": ("account_id", ["A001", "A002", "A003"]),
            "marts.customer_profile": ("customer_id", [1, 2]),
        }
        for table in TABLES:
            key, expected = keys.get(table, ("", []))
            added = sorted(row[key] for row in runs.third.added(runs.second, table))
            assert added == expected, table
            replaced = {
                "marts.account_summary": ["A001", "A002", "A003"],
                "marts.customer_profile": [1, 2],
                "snapshots.snap_customer": [1],
                "snapshots.snap_account": ["A003"],
            }.get(table, [])
            assert sorted(row[key] for row in runs.third.removed(runs.second, table)) == replaced, table

    def test_writes_all_exports_anew(self, runs: Runs) -> None:
        assert runs.third.outputs.keys() == runs.second.outputs.keys()
        assert {name for name, digest in runs.third.outputs.items() if runs.second.outputs[name] != digest} == set(
            runs.third.outputs
        )


class TestStepsAlone:
    def test_ingest_transform_and_export_do_what_a_run_does(self, runs: Runs, tmp_path: Path) -> None:
        """From another folder, dated: each step is of use on its own."""
        other = tmp_path / "elsewhere"
        other.mkdir()
        inputs = copy_sample(other)
        loaded_at = (utc_now() - timedelta(days=400)).replace(microsecond=0)
        with environment_of(tmp_path):
            for arguments in (
                ("ingest", "--inputs", str(inputs), "--as-of", loaded_at.isoformat()),
                ("transform", "--as-of", loaded_at.isoformat()),
                ("export",),
            ):
                ended = run(tmp_path, *arguments)
                assert ended.exit_code == 0, ended.output
                if arguments[0] == "ingest":
                    pending = run(tmp_path, "status")
                    assert pending.exit_code == 1
                    assert "make run" in pending.output or "transform" in pending.output
        reference = Reference()
        reference.take(read_load(inputs, loaded_at)[0])
        assert_same_tables(reference.tables(), stored_tables(tmp_path))
        assert len(file_bytes(tmp_path / "outputs")) == 5
