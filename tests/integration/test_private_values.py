"""No name, no balance and no line as it was received stands in a file, whatever goes wrong: reports and logs tell what
happened without them. The terminal may show them."""

from __future__ import annotations

import ast
import gzip
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner

import scripts.ingest
from scripts.clock import utc_now
from scripts.errors import BlockingAuditError, FeedRefusedError, PipelineError
from scripts.feeds import FEEDS, FileFormat
from scripts.ingest import load, reader
from scripts.job import finish
from scripts.pipeline import cli
from scripts.settings import NOTHING_ALLOWED
from tests.lab import Lab, copy_project, environment_of, lab, stored_tables

START = datetime(2024, 1, 15, 2)
NEXT = START + timedelta(days=1)
PRIVATE = ("Zebedee", "Quartz", "777133559")  # part of every name, part of every balance
CUSTOMER = "CustomerID,Name,HasLoan\n"
ACCOUNT = "AccountID,CustomerID,Balance,AccountType\n"
CUSTOMERS = CUSTOMER + "".join(f"{key},Zebedee{key} Quartz,no\n" for key in range(1, 25))
ACCOUNTS = ACCOUNT + "".join(f"A{key},{key},777133559{key:02}.45,savings\n" for key in range(1, 25))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab with one load through to the marts."""
    with lab(tmp_path_factory.mktemp("private")) as current:
        send(current.inputs)
        current.ingest(START)
        current.transform(START)
        yield current


def send(inputs: Path, customers: str | bytes = CUSTOMERS, accounts: str | bytes = ACCOUNTS) -> None:
    inputs.mkdir(exist_ok=True)
    for name, content in (("Customer.csv", customers), ("accounts.csv", accounts)):
        (inputs / name).write_bytes(content.encode() if isinstance(content, str) else content)


def written(folder: Path) -> str:
    """All that stands in the reports and logs under a folder, which are there."""
    files = [path for name in ("quality_reports", "logs") for path in folder.glob(f"**/{name}/*") if path.is_file()]
    assert files
    return "\n".join(path.read_text(encoding="utf-8") for path in files)


def assert_private(text: str) -> None:
    assert not [value for value in PRIVATE if value in text]


@dataclass
class Desk:
    """What a refusal may be made of; all of it is as it was for the next one."""

    lab: Lab
    patch: pytest.MonkeyPatch
    as_of: datetime | None = NEXT

    @property
    def inputs(self) -> Path:
        return self.lab.job.settings.input_path

    def send(self, customers: str | bytes = CUSTOMERS, accounts: str | bytes = ACCOUNTS) -> None:
        send(self.inputs, customers, accounts)

    def set(self, **settings: object) -> None:
        self.patch.setattr(self.lab.job, "settings", self.lab.job.settings.model_copy(update=settings))

    def send_one_that(self, function: str, does: Callable[..., object]) -> None:
        """Sends a sound file of which the reader fails."""
        self.send(CUSTOMERS + "25,Zebedee25 Quartz,no\n")
        self.patch.setattr(reader, function, does)


def remove(desk: Desk, name: str = "Customer.csv") -> Path:
    desk.send()
    path = desk.inputs / name
    path.unlink()
    return path


def in_a_folder_of_a_pattern(desk: Desk) -> None:
    desk.set(input_path=desk.lab.folder / "a\\*")
    desk.send(CUSTOMERS + "25,Zebedee25 Quartz,no\n")


def in_an_unknown_encoding(desk: Desk) -> None:
    desk.set(feed_encoding="utf-99")
    desk.send()


def in_utf_8_that_is_set_to_be_another(desk: Desk) -> None:
    desk.set(feed_encoding="cp1252")
    desk.send(CUSTOMERS.replace("Quartz", "Quartz\xe9"))


def fail_in_duckdb(*_: object, **__: object) -> None:
    duckdb.execute("SELECT error('the line 25,Zebedee25 Quartz,no is wrong')")


def fail_to_open(*_: object) -> None:
    raise PermissionError(13, "Permission denied")


def touch_while_reading(desk: Desk) -> None:
    original = reader._parse

    def parse(*arguments: object, **options: object) -> None:
        original(*arguments, **options)  # type: ignore[arg-type]
        os.utime(desk.inputs / "Customer.csv", (0, 0))

    desk.send_one_that("_parse", parse)


def lose_a_row(desk: Desk) -> None:
    original = reader._parse

    def parse(connection: duckdb.DuckDBPyConnection, table: str, *arguments: object, **options: object) -> None:
        original(connection, table, *arguments, **options)  # type: ignore[arg-type]
        connection.execute(f"DELETE FROM {table} WHERE rowid = 3")

    desk.send_one_that("_parse", parse)


def ending_with(line: str) -> Callable[[Desk], None]:
    """The accounts end with this line, and their contract has it be a control record."""

    def provoke(desk: Desk) -> None:
        control = {"marker": "TRL", "recordCount": 2, "sum": 3, "sumOf": "balance"}
        format_ = FileFormat.model_validate({"controlRecord": control})
        feeds = [one.model_copy(update={"format": format_}) if one.name == "account" else one for one in FEEDS]
        desk.patch.setattr(load, "FEEDS", feeds)
        desk.send(accounts=f"{ACCOUNTS}{line}\n")

    return provoke


def at(as_of: datetime) -> Callable[[Desk], None]:
    def provoke(desk: Desk) -> None:
        desk.send(CUSTOMERS + "25,Zebedee25 Quartz,no\n")
        desk.as_of = as_of

    return provoke


def before_the_models(desk: Desk) -> None:
    at(datetime(2019, 1, 1))(desk)
    desk.patch.setattr(load, "last_loaded_at", lambda warehouse: None)


REFUSALS: dict[str, Callable[[Desk], object]] = {
    "a missing file": remove,
    "no control record": ending_with("A25,25,77713355925.45,savings"),
    "another number of records": ending_with("TRL,25,77713355925.45"),
    "another sum": ending_with("TRL,24,77713355925.45"),
    "no number in the control record": ending_with("TRL,Zebedee Quartz,77713355925.45"),
    "a folder in its place": lambda desk: remove(desk).mkdir(),
    "a pipe in its place": lambda desk: os.mkfifo(remove(desk)),
    "a folder that DuckDB takes for a pattern": in_a_folder_of_a_pattern,
    "an empty file": lambda desk: desk.send(customers=""),
    "a header alone": lambda desk: desk.send(customers=CUSTOMER),
    "a blank first line": lambda desk: desk.send(customers=CUSTOMERS.replace(CUSTOMER, "\n")),
    "a file of UTF-16": lambda desk: desk.send(customers=CUSTOMERS.encode("utf-16-le")),
    "semicolons": lambda desk: desk.send(customers=CUSTOMERS.replace(",", ";")),
    "a header that is no CSV": lambda desk: desk.send(customers='"Zebedee1 Quartz\n' + CUSTOMERS),
    "no header": lambda desk: desk.send(customers=CUSTOMERS.removeprefix(CUSTOMER)),
    "no header of accounts": lambda desk: desk.send(accounts=ACCOUNTS.removeprefix(ACCOUNT)),
    "a wrong encoding": lambda desk: desk.send(customers=CUSTOMERS.replace("Quartz", "Quartz\xe9").encode("latin-1")),
    "an encoding that is not known": in_an_unknown_encoding,
    "an encoding that is not the file's": in_utf_8_that_is_set_to_be_another,
    "a compressed file": lambda desk: desk.send(customers=gzip.compress(CUSTOMERS.encode())),
    "damaged lines": lambda desk: desk.send(CUSTOMERS + "25,Zebedee25 Quartz\n" * 3),
    "damaged lines of accounts": lambda desk: desk.send(accounts=ACCOUNTS + 'A25,25,"77713355925.45\n' * 3),
    "what DuckDB can't parse": lambda desk: desk.send_one_that("_parse", fail_in_duckdb),
    "a file that can't be read": lambda desk: desk.send_one_that("scan_file", fail_to_open),
    "a file that changes meanwhile": touch_while_reading,
    "lines that are lost": lose_a_row,
    "keys that are missing": lambda desk: desk.send(CUSTOMER + "1,Zebedee1 Quartz,no\n"),
    "a column that is emptied": lambda desk: desk.send(accounts=ACCOUNTS.replace(".45,savings", "0,")),
    "balances with a comma": lambda desk: desk.send(
        accounts=ACCOUNT + "".join(f'A{key},{key},"777133559{key:02},45",savings\n' for key in range(1, 25))
    ),
    "accounts of nobody": lambda desk: desk.send(
        accounts=ACCOUNT + "".join(f"A{key},9{key},777133559{key:02}.45,savings\n" for key in range(1, 25))
    ),
    "accounts that are savings no more": lambda desk: desk.send(accounts=ACCOUNTS.replace("savings", "checking")),
    "a time before the last load": at(START - timedelta(hours=1)),
    "a time before the models begin": before_the_models,
    "a time in the future": at(utc_now() + timedelta(days=1)),
}


@contextmanager
def recorded_refusals() -> Iterator[set[tuple[str, int]]]:
    """The places at which refusals are made meanwhile: file and line."""
    made: set[tuple[str, int]] = set()
    original = FeedRefusedError.__init__

    def init(error: FeedRefusedError, *arguments: object, **options: object) -> None:
        caller = sys._getframe(1)
        made.add((Path(caller.f_code.co_filename).name, caller.f_lineno))
        original(error, *arguments, **options)  # type: ignore[arg-type]

    FeedRefusedError.__init__ = init  # type: ignore[method-assign, assignment]
    try:
        yield made
    finally:
        FeedRefusedError.__init__ = original  # type: ignore[method-assign]


def refusals_in_the_code() -> Iterator[tuple[str, range]]:
    """Every place that makes a refusal: file and lines."""
    for path in sorted(Path(scripts.ingest.__path__[0]).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "FeedRefusedError":
                yield path.name, range(node.lineno, (node.end_lineno or node.lineno) + 1)


def refuse(base: Lab, provoke: Callable[[Desk], object]) -> str:
    """Has a load refused and its report written; returns what the terminal shows."""
    with pytest.MonkeyPatch.context() as patch:
        desk = Desk(base, patch)
        try:
            provoke(desk)
            with pytest.raises(FeedRefusedError) as refused:
                base.ingest(desk.as_of, allowed=NOTHING_ALLOWED)
            finish(base.job.record, base.job, base.folder / "quality_reports", refused.value)
        finally:
            for path in (desk.inputs / "Customer.csv", desk.inputs / "accounts.csv"):
                path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
    return str(refused.value)


def test_no_refusal_of_a_feed_writes_a_name_or_a_balance(base: Lab) -> None:
    with recorded_refusals() as made:
        messages = {name: refuse(base, provoke) for name, provoke in REFUSALS.items()}
    assert_private(written(base.folder))
    for told in ("no header", "no header of accounts", "damaged lines", "damaged lines of accounts"):
        assert any(value in messages[told] for value in PRIVATE), "the terminal quotes what is wrong"
    untold = [
        f"{name}:{lines.start}"
        for name, lines in refusals_in_the_code()
        if not any(file == name and line in lines for file, line in made)
    ]
    assert not untold, "refusals that no case provokes"


def test_the_report_of_a_refusal_keeps_what_is_no_quote(base: Lab) -> None:
    refuse(base, REFUSALS["damaged lines"])
    assert "3 of 27 data lines (11.1%) are damaged, more than the 10.0% allowed" in written(base.folder)
    assert "line 26: too_few_fields, " in written(base.folder)


def test_no_key_of_a_shifted_line_is_a_name_or_a_balance_in_the_report(base: Lab) -> None:
    """A name or a balance that came in the column of the key."""
    send(
        base.inputs,
        CUSTOMERS + "Zebedee,Quartz,no\nZebedee Quartz,25,no\n",
        ACCOUNTS + "77713355945.45,25,A25,savings\n",
    )
    base.ingest(START + timedelta(days=2))
    base.transform(START + timedelta(days=2))
    finish(base.job.record, base.job, base.folder / "quality_reports")
    assert_private(written(base.folder))
    assert "Xxxxxxx" in written(base.folder)


def project_with(folder: Path, model: str, old: str, new: str) -> Path:
    """A copy of the project in which a model says something else."""
    copy_project(folder / "project")
    path = folder / "project" / "models" / f"{model}.sql"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    return folder / "project"


class TestFailures:
    def test_a_model_that_fails_on_a_name_writes_it_nowhere(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        project = project_with(
            tmp_path,
            "snapshots/snap_customer",
            "WHERE\n  reasons",
            "WHERE\n  CAST(customer_name AS INT) > 0 AND reasons",
        )
        monkeypatch.setattr("scripts.project.transform.PROJECT_ROOT", project)
        send(tmp_path / "inputs")
        with environment_of(tmp_path):
            failed = CliRunner().invoke(cli, ["run", "--as-of", START.isoformat()], catch_exceptions=False)
            assert failed.exit_code == 5, failed.output
            assert "Could not convert string 'Zebedee" in failed.output
            assert_private(written(tmp_path))
            assert "snapshots.snap_customer: ConversionException" in written(tmp_path)

            sqlmesh = str(Path(sys.executable).with_name("sqlmesh"))
            command = [sqlmesh, "plan", "--auto-apply", "--no-prompts", "--skip-tests"]
            plain = subprocess.run(command, cwd=project, capture_output=True, text=True)
        assert "Could not convert string 'Zebedee" in plain.stdout
        assert list((project / "logs").glob("*.log"))
        assert_private(written(tmp_path))
        assert "ConversionException" in written(project)

    def test_a_rule_that_fails_on_a_name_takes_no_load_and_writes_it_nowhere(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rule = "WHEN NOT is_deleted_flag AND @is_absent(customer_name)"
        project = project_with(tmp_path, "staging/judged_customer", rule, "WHEN CAST(customer_name AS INT) > 0")
        monkeypatch.setattr("scripts.project.transform.PROJECT_ROOT", project)
        send(tmp_path / "inputs")
        with environment_of(tmp_path):
            failed = CliRunner().invoke(cli, ["run", "--as-of", START.isoformat()], catch_exceptions=False)
        assert failed.exit_code == 5, failed.output
        assert "staging.judged_customer: Conversion Error: Could not convert string 'Zebedee" in failed.output
        assert "Nothing was loaded. Mend the cause and run again." in failed.output
        assert stored_tables(tmp_path, ["landing.load"]) == {"landing.load": []}
        assert_private(written(tmp_path))
        assert "staging.judged_customer: ConversionException" in written(tmp_path)

    def test_a_blocking_audit_and_missing_rows_write_no_value(self, base: Lab) -> None:
        at = START + timedelta(days=5)
        send(base.inputs, CUSTOMERS.replace(",no", ",yes"), ACCOUNTS.replace(".45", ".46"))
        base.ingest(at)
        landed = f"FROM landing.account WHERE loaded_at = TIMESTAMP '{at}'"
        base.job.warehouse.execute(f"INSERT INTO landing.account {landed}")
        fail(base, at, BlockingAuditError)
        base.job.warehouse.execute(f"DELETE FROM landing.account WHERE rowid IN (SELECT MAX(rowid) {landed})")

    def test_an_error_that_nobody_expects_writes_no_value(self, base: Lab) -> None:
        finish(base.job.record, base.job, base.folder / "quality_reports", ValueError("Zebedee is no number"))
        assert_private(written(base.folder))


def fail(current: Lab, at: datetime, kind: type[PipelineError]) -> None:
    with pytest.raises(kind) as failed:
        current.transform(at)
    finish(current.job.record, current.job, current.folder / "quality_reports", failed.value)
    assert_private(written(current.folder))
