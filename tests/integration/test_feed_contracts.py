"""A feed's contract changes on a database that holds loads: old rows stand, and only what a file says is a change."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from scripts.settings import PROJECT_ROOT
from tests.compare import assert_same_rows
from tests.lab import copy_project, environment_of, stored_tables
from tests.reference import Load, Reference
from tests.variants import BRANCH

FIRST_AT = datetime(2024, 1, 15, 2)
CUSTOMERS = [("1", "Ana", "no"), ("2", "Bob", "yes")]
ACCOUNTS = [("A1", "1", "100", "savings"), ("A2", "2", "20000", "savings"), ("A3", "2", "?", "savings")]
HEADER = "AccountID,CustomerID,Balance,AccountType"
SQLMESH = Path(sys.executable).with_name("sqlmesh")
COMPARED = ("snapshots.snap_account", "marts.account_summary", "marts.customer_profile")


class Desk:
    """A copy of the project, worked on by processes of its own: a contract is read once in each."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.project = folder, folder / "project"
        copy_project(self.project)
        shutil.copytree(PROJECT_ROOT / "tools", self.project / "tools")
        (folder / "inputs").mkdir()
        self.contract = self.project / "feeds" / "account.yaml"
        self.day = 0
        self.reference = Reference()

    def declare_branch(self) -> None:
        self.contract.write_text(self.contract.read_text(encoding="utf-8").rstrip("\n") + BRANCH, encoding="utf-8")
        self.write_external_models()

    def take_branch_out(self) -> None:
        text = self.contract.read_text(encoding="utf-8")
        assert BRANCH in text
        self.contract.write_text(text.replace(BRANCH, "\n"), encoding="utf-8")
        self.write_external_models()

    def write_external_models(self) -> None:
        written = self.command(sys.executable, "-m", "tools.external_models")
        assert written.returncode == 0, written.stderr

    def send(self, header: str, rows: Sequence[tuple[str, ...]]) -> None:
        customers = "".join(",".join(row) + "\n" for row in CUSTOMERS)
        (self.folder / "inputs" / "Customer.csv").write_text(f"CustomerID,Name,HasLoan\n{customers}")
        lines = "".join(",".join(row) + "\n" for row in rows)
        (self.folder / "inputs" / "accounts.csv").write_text(f"{header}\n{lines}")

    def run(self) -> subprocess.CompletedProcess[str]:
        at = FIRST_AT + timedelta(days=self.day)
        ended = self.command(sys.executable, "-m", "scripts.pipeline", "run", "--as-of", at.isoformat())
        if ended.returncode == 0:
            self.reference.take(Load(at, CUSTOMERS, ACCOUNTS))
            self.day += 1
        return ended

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        with environment_of(self.folder):
            environment = {**os.environ, "PYTHONPATH": ""}
            return subprocess.run(words, cwd=self.project, env=environment, capture_output=True, text=True)

    def assert_marts(self) -> None:
        """What does not know of the column is as if there were none."""
        expected, stored = self.reference.tables(), stored_tables(self.folder, COMPARED)
        for table in COMPARED:
            assert_same_rows(expected[table], stored[table], table)

    def query(self, sql: str) -> list[tuple[object, ...]]:
        with duckdb.connect(str(self.folder / "lending_club.duckdb"), read_only=True) as connection:
            return connection.sql(sql).fetchall()


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    desk.send(HEADER, ACCOUNTS)
    ended = desk.run()
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return desk


def test_a_column_comes_is_filled_is_lacking_and_goes(desk: Desk) -> None:
    desk.declare_branch()
    planned = desk.command(str(SQLMESH), "plan", "--no-prompts", "--auto-apply", "--skip-tests")
    assert planned.returncode == 0, planned.stdout
    declared_only = desk.run()
    assert "3 rows   0 new · 0 changed · 3 unchanged" in declared_only.stdout, declared_only.stdout
    desk.assert_marts()

    desk.send(f"Branch,{HEADER}", [("", *ACCOUNTS[0]), ("North", *ACCOUNTS[1]), ("South", *ACCOUNTS[2])])
    filled = desk.run()
    assert "3 rows   0 new · 2 changed · 1 unchanged" in filled.stdout, filled.stdout
    received = "SELECT account_id, branch FROM {} ORDER BY loaded_at, account_id"
    assert desk.query(received.format("source.src_account")) == [
        *(("A1", None), ("A2", None), ("A3", None)),
        *(("A2", "North"), ("A3", "South")),
    ]
    assert desk.query(received.format("staging.quarantine_account")) == [("A3", None), ("A3", "South")]
    desk.assert_marts()

    desk.send(HEADER, ACCOUNTS)
    lacking = desk.run()
    assert "3 rows   0 new · 2 changed · 1 unchanged" in lacking.stdout, lacking.stdout

    desk.take_branch_out()
    desk.send(f"{HEADER},Branch", [(*row, "North") for row in ACCOUNTS])
    refused = desk.run()
    assert refused.returncode == 3, refused.stdout
    assert "not in the contract: Branch" in refused.stdout
    assert "feeds/account.yaml" in refused.stdout
    desk.send(HEADER, ACCOUNTS)
    gone = desk.run()
    assert "3 rows   0 new · 0 changed · 3 unchanged" in gone.stdout, gone.stdout
    desk.assert_marts()
    assert desk.query("SELECT branch FROM landing.account WHERE branch <> '' ORDER BY 1") == [("North",), ("South",)]
