"""A feed's contract changes on a database that holds loads: old rows stand, and only what a file says is a change."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from ruamel.yaml import YAML

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

    @contextmanager
    def contract_of(self, feed: str) -> Iterator[Any]:
        """The contract of a feed, to be changed."""
        path, yaml = self.project / "feeds" / f"{feed}.yaml", YAML()
        contract = yaml.load(path.read_text(encoding="utf-8"))
        yield contract
        yaml.dump(contract, path)

    def write_external_models(self) -> None:
        written = self.command(sys.executable, "-m", "tools.external_models")
        assert written.returncode == 0, written.stderr

    def send_text(self, file_name: str, text: str, encoding: str = "utf-8") -> None:
        (self.folder / "inputs" / file_name).write_text(text, encoding=encoding)

    def send(self, header: str, rows: Sequence[tuple[str, ...]]) -> None:
        customers = "".join(",".join(row) + "\n" for row in CUSTOMERS)
        (self.folder / "inputs" / "Customer.csv").write_text(f"CustomerID,Name,HasLoan\n{customers}")
        lines = "".join(",".join(row) + "\n" for row in rows)
        (self.folder / "inputs" / "accounts.csv").write_text(f"{header}\n{lines}")

    def run(self, **settings: str) -> subprocess.CompletedProcess[str]:
        at = FIRST_AT + timedelta(days=self.day)
        ended = self.command(sys.executable, "-m", "scripts.pipeline", "run", "--as-of", at.isoformat(), **settings)
        if ended.returncode == 0:
            self.reference.take(Load(at, CUSTOMERS, ACCOUNTS))
            self.day += 1
        return ended

    def command(self, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
        with environment_of(self.folder):
            environment = {**os.environ, "PYTHONPATH": "", **settings}
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


def leading_zeros_off(contract: Any, column: str) -> None:
    (declared,) = (one for one in contract["schema"][0]["properties"] if one["name"] == column)
    declared["customProperties"] = [{"property": "leadingZeros", "value": "strip"}]


def test_files_as_a_bank_sends_them_come_to_the_same_marts(desk: Desk) -> None:
    with desk.contract_of("customer") as customers:
        leading_zeros_off(customers, "customer_id")
    with desk.contract_of("account") as accounts:
        (table,) = accounts["schema"]
        table["physicalName"] = "bank's accounts.csv"
        table["properties"][2]["description"] = "The bank's balance"
        leading_zeros_off(accounts, "customer_id")
        control = {"marker": "TRL", "recordCount": 2, "sum": 3, "sumOf": "balance"}
        said = {
            "delimiter": ";",
            "escape": "\\",
            "encoding": "cp1252",
            "decimalSeparator": ",",
            "thousandsSeparator": ".",
            "controlRecord": control,
        }
        table["customProperties"] = [{"property": name, "value": value} for name, value in said.items()]
    desk.write_external_models()
    desk.send_text("Customer.csv", "CustomerID,Name,HasLoan\n0001,Ana,no\n2,Bob,yes\n")
    lines = ["A1;0001;100,00;savings", "A2;2;20.000;savings", "A3;02;–;savings", 'A4;0099;"3,000";"sav\\"ings"', "A5;1"]
    sent = "\n".join([HEADER.replace(",", ";"), *lines, "TRL;00005;20.103,00\n"])

    desk.send_text("bank's accounts.csv", sent.replace("A5;1\n", ""), encoding="cp1252")
    cut = desk.run()
    assert cut.returncode == 3, cut.stdout
    assert "its control record claims 5 records, and 4 are there" in cut.stdout
    desk.assert_marts()

    desk.send_text("bank's accounts.csv", sent, encoding="cp1252")
    taken = desk.run(MAX_REJECTED_SHARE="0.5")
    assert taken.returncode == 0, taken.stdout + taken.stderr
    assert "1 amount of Balance in bank's accounts.csv has exactly three decimals" in taken.stdout
    desk.assert_marts()
    query = "SELECT received_balance, customer_id, reasons FROM staging.judged_account ORDER BY loaded_at, account_key"
    assert desk.query(query)[3:] == [
        ("100,00", 1, ""),
        ("20.000", 2, ""),
        ("–", 2, "balance_invalid"),
        ("3,000", 99, "account_type_invalid"),
    ]
    assert desk.query("SELECT file_name, raw_text FROM landing.reject") == [("bank's accounts.csv", "A5;1")]
    ledger = "SELECT encoding FROM landing.load WHERE feed = 'account' ORDER BY loaded_at DESC LIMIT 1"
    assert '"delimiter": ";"' in str(desk.query(ledger))

    again = desk.run(MAX_REJECTED_SHARE="0.5")
    assert "4 rows   0 new · 0 changed · 4 unchanged" in again.stdout, again.stdout
    assert "three decimals" not in again.stdout


def test_rows_that_differed_in_a_column_alone_that_goes_are_one_row_again(desk: Desk) -> None:
    desk.declare_branch()
    in_conflict = [("A1", "1", "100", "savings", branch) for branch in ("North", "South")]
    others = [(*row, "") for row in ACCOUNTS[1:]]
    desk.send(f"{HEADER},Branch", [*in_conflict, *others])
    assert desk.run().returncode == 0
    assert desk.query("SELECT account_key FROM staging.quarantine_account WHERE reasons = 'conflicting_rows'") == [
        ("A1",),
        ("A1",),
    ]
    desk.take_branch_out()
    desk.send(HEADER, [ACCOUNTS[0], *ACCOUNTS])
    gone = desk.run()
    assert "4 rows   0 new · 1 changed · 2 unchanged · 1 duplicate" in gone.stdout, gone.stdout
    latest = "SELECT ARG_MAX(reasons, loaded_at) FROM staging.judged_account WHERE account_key = 'A1'"
    assert desk.query(latest) == [("",)]
    desk.assert_marts()
    again = desk.run()
    assert "4 rows   0 new · 0 changed · 3 unchanged · 1 duplicate" in again.stdout, again.stdout
