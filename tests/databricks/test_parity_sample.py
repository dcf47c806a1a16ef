"""The sample feed and a change of it through both gateways: every table row for row, every file byte for byte."""

from __future__ import annotations

import csv
import shutil
from datetime import datetime
from pathlib import Path

import pytest

from scripts.feeds import ACCOUNT, CUSTOMER
from scripts.settings import PROJECT_ROOT
from tests.databricks.fixture import RehearsalServer
from tests.databricks.parity import Outcome, Recorder, assert_equal_after_each_load, on_both_gateways
from tests.lab import Lab

pytestmark = pytest.mark.databricks

SAMPLE = PROJECT_ROOT / "data" / "inputs"
SAMPLE_LOADED_AT = datetime(2024, 1, 15, 2)
CHANGE_LOADED_AT = datetime(2024, 1, 16, 2, 0, 0, 1)


def test_sample_feed_and_its_change_give_equal_tables_and_files(
    databricks_server: RehearsalServer, tmp_path: Path
) -> None:
    assert_equal_after_each_load(on_both_gateways(databricks_server, tmp_path, take_sample), 2)


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
