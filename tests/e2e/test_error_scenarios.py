"""What goes wrong outside of the pipeline: killed processes, two runs at once, folders that can't be written."""

from __future__ import annotations

import json
import random
import shutil
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from scripts.outputs.export import check_outputs
from scripts.pipeline import cli
from scripts.warehouse.duckdb import DuckDBWarehouse
from tests.compare import assert_same_rows
from tests.e2e.processes import Command, Moment, run
from tests.feed_strategies import write_feeds
from tests.lab import (
    LANDING,
    TABLES,
    Rows,
    Story,
    assert_same_tables,
    continued,
    environment_of,
    file_bytes,
    open_in_another_process,
    select,
    stored_tables,
    tell,
)
from tests.reference import Load, Reference

TIME = datetime(2024, 1, 16, 2, 30)
FIRST = Load(
    TIME - timedelta(days=1),
    [("1", "Ana", "no"), ("2", "Bob", "yes"), ("3", "Cat", "no")],
    [("A1", "1", "100", "savings"), ("A2", "2", "20000", "savings"), ("A3", "3", "7", "savings")],
)
SECOND = Load(
    TIME,
    [("1", "Anna", "yes"), ("2", "Bob", "yes"), ("4", "Dan", "")],
    [
        ("A1", "1", "100", "savings"),
        ("A2", "2", "20000", "checking"),
        ("A4", "4", "10000", "savings"),
        ("A5", "4", "x", ""),
    ],
)
RUN = ("run", "--as-of", TIME.isoformat())


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """The first load, taken; every test goes on from a copy of it with the second."""
    return tell(tmp_path_factory.mktemp("before"), [FIRST])


@dataclass(frozen=True)
class Undisturbed:
    """What a run of the second load leaves when nothing goes wrong."""

    tables: dict[str, Rows]
    outputs: dict[str, str]


@pytest.fixture(scope="module")
def undisturbed(story: Story, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    with continued(story, tmp_path_factory.mktemp("undisturbed")) as (current, reference):
        reference.take(SECOND)
        current.take(SECOND)
        current.assert_equals(reference)
        current.job.export()
        tables = current.tables((*TABLES, *LANDING[2:]))
        return Undisturbed(tables, file_bytes(current.folder / "outputs"))


@pytest.fixture
def folder(story: Story, tmp_path: Path) -> Iterator[Path]:
    """A pipeline that has taken the first load and finds the second in its inputs."""
    shutil.copytree(story.folder, tmp_path, dirs_exist_ok=True)
    write_feeds(SECOND, tmp_path / "inputs")
    with environment_of(tmp_path):
        yield tmp_path


def assert_heals(folder: Path, undisturbed: Undisturbed) -> None:
    """Runs again what a killed run left, and compares with one that was not killed."""
    ledger = stored_tables(folder, ["landing.load"])["landing.load"]
    landed = select(ledger, loaded_at=TIME)
    assert len(landed) in (0, 2), "a load is in the ledger with both files or not at all"
    ended = run(folder, *RUN)
    assert ended.exit_code == 0, ended.output
    found = stored_tables(folder, (*TABLES, *LANDING[2:]))
    assert len(select(found["landing.load"], loaded_at=TIME)) == 2
    assert_same_tables(undisturbed.tables, found)
    assert check_outputs(folder / "outputs") == []
    assert file_bytes(folder / "outputs") == undisturbed.outputs, "no temporary file is left either"


MOMENTS = {
    "while_rows_are_landed": Moment("scripts.ingest.load:append_changes", after=True),
    "between_ingest_and_models": Moment("scripts.project.windows:close_finished_hours"),
    "between_the_merge_of_a_snapshot_and_its_record": Moment(
        "sqlmesh.core.state_sync.base:StateSync.add_interval", about='"snap_account"'
    ),
    "between_the_merge_of_a_mart_and_its_record": Moment(
        "sqlmesh.core.state_sync.base:StateSync.add_interval", about='"account_summary"'
    ),
    "between_the_models_and_the_record_of_the_run": Moment("scripts.project.windows:record_run"),
    "between_two_exported_files": Moment("scripts.outputs.export:_publish", call=2),
    "before_the_manifest": Moment("scripts.outputs.export:_publish_manifest"),
    "while_the_report_is_written": Moment("scripts.report.quality_report:write_atomically", call=2),
}


@pytest.mark.parametrize("moment", MOMENTS.values(), ids=MOMENTS.keys())
def test_a_run_killed(moment: Moment, folder: Path, undisturbed: Undisturbed) -> None:
    killed = run(folder, *RUN, dying_at=moment)
    assert killed.exit_code == -signal.SIGKILL, f"the moment never came: {killed.output}"
    assert_heals(folder, undisturbed)


@pytest.mark.parametrize("seed", range(2))
def test_a_run_killed_at_any_moment(seed: int, folder: Path, undisturbed: Undisturbed) -> None:
    seconds = random.Random(seed).uniform(0.5, 6)
    command = Command(folder, *RUN)
    command.kill_after(seconds)
    command.ended()
    assert_heals(folder, undisturbed)


def test_a_first_run_killed_among_its_models_starts_over(tmp_path: Path) -> None:
    write_feeds(FIRST, tmp_path / "inputs")
    arguments = ("--as-of", FIRST.loaded_at.isoformat())
    with environment_of(tmp_path):
        moment = Moment("sqlmesh.core.state_sync.base:StateSync.add_interval", about='"int_account_with_customer"')
        assert run(tmp_path, "run", *arguments, dying_at=moment).exit_code == -signal.SIGKILL
        again = run(tmp_path, "run", *arguments)
        assert again.exit_code == 0, again.output
    reference = Reference()
    reference.take(FIRST)
    assert_same_tables(reference.tables(), stored_tables(tmp_path))


def test_of_two_runs_at_once_the_second_waits_for_the_first(folder: Path) -> None:
    with environment_of(folder, LOCK_TIMEOUT="300"):
        both = [Command(folder, "run"), Command(folder, "run")]
    ended = [command.ended() for command in both]
    assert [one.exit_code for one in ended] == [0, 0], [one.output for one in ended]
    tables = stored_tables(folder, (*TABLES, "landing.load"))
    reference = Reference()
    reference.take(FIRST)
    for time in sorted({row["loaded_at"] for row in tables.pop("landing.load")} - {FIRST.loaded_at}):
        reference.take(Load(time, SECOND.customer, SECOND.account))
    assert_same_tables(reference.tables(), tables)
    assert check_outputs(folder / "outputs") == []


def test_a_command_waits_for_a_database_that_is_in_use_and_says_for_whom(folder: Path) -> None:
    with open_in_another_process(folder / "lending_club.duckdb") as other:
        with environment_of(folder, LOCK_TIMEOUT="300"):
            command = Command(folder, "ingest", "--as-of", TIME.isoformat())
        command.wait_for("Waiting")
        other.kill()
    ended = command.ended()
    assert ended.exit_code == 0, ended.output
    (waited,) = (line for line in ended.output.splitlines() if "Waiting" in line)
    assert waited.startswith(f"Another process has {folder / 'lending_club.duckdb'} open (PID {other.pid}, ")
    assert waited.endswith("Waiting up to 300 s.")
    assert len(select(stored_tables(folder, ["landing.load"])["landing.load"], loaded_at=TIME)) == 2


@pytest.mark.parametrize(
    "command", [("run",), ("ingest",), ("transform",), ("export",), ("report",), ("plan", "--no-prompts")], ids="".join
)
def test_a_command_that_waited_in_vain_names_the_process(
    command: tuple[str, ...], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scripts.project.branch.environment_of_folder", lambda *_: "prod")
    monkeypatch.setenv("LOCK_TIMEOUT", "0.5")
    with open_in_another_process(folder / "lending_club.duckdb") as other:
        ended = CliRunner().invoke(cli, command)
    assert ended.exit_code == 1, ended.output
    assert ended.output.count("Waiting up to 0.5 s") == 1
    *_, stopped = ended.output.splitlines()
    assert f"Another process has {folder / 'lending_club.duckdb'} open (PID {other.pid}, " in stopped
    assert stopped.startswith("Stopped. ")
    assert stopped.endswith("Close it and run again.")


def test_a_first_run_waits_too_where_another_one_is_making_the_database(tmp_path: Path) -> None:
    write_feeds(FIRST, tmp_path / "inputs")
    with environment_of(tmp_path, LOCK_TIMEOUT="300"):
        both = [Command(tmp_path, "ingest"), Command(tmp_path, "ingest")]
    ended = [command.ended() for command in both]
    assert [one.exit_code for one in ended] == [0, 0], [one.output for one in ended]


def test_status_does_not_wait(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCK_TIMEOUT", "300")
    with open_in_another_process(folder / "lending_club.duckdb") as other:
        ended = CliRunner().invoke(cli, ["status"])
    assert ended.exit_code == 1, ended.output
    assert f"PID {other.pid}" in ended.output
    assert "Waiting" not in ended.output


def test_check_names_the_lock_and_how_to_end_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCK_TIMEOUT", "300")
    with open_in_another_process(folder / "lending_club.duckdb"):
        ended = run(folder, "check")
    assert ended.exit_code == 1, ended.output
    failed, remedy = ended.output.splitlines()[-2:]
    assert failed.startswith(f"✗ tables  Another process has {folder / 'lending_club.duckdb'} open")
    assert remedy == "  → Close it and run again."
    assert run(folder, "check").exit_code == 0


def test_report_on_a_table_that_is_gone_ends_with_a_sentence(folder: Path) -> None:
    warehouse = DuckDBWarehouse.open(folder / "lending_club.duckdb")
    ((table,),) = warehouse.fetch(
        "SELECT table_name FROM information_schema.tables "
        "WHERE table_schema = 'sqlmesh__marts' AND table_name LIKE 'marts__account_summary__%'"
    )
    warehouse.execute(f"DROP TABLE sqlmesh__marts.{table}")
    warehouse.close()
    ended = run(folder, "report")
    assert ended.exit_code == 1, ended.output
    assert "Stopped. marts.account_summary can't be audited: Catalog Error: Table with name" in ended.output
    assert "Traceback" not in ended.output


def unreachable_databricks(proxy: str) -> dict[str, str]:
    """Settings that lead to a host that is not there, whatever proxy this machine has."""
    names = {"HOST": "nowhere.invalid", "HTTP_PATH": "/sql/1.0/warehouses/none", "CATALOG": "none", "TOKEN": "none"}
    proxies = {**dict.fromkeys(("HTTPS_PROXY", "https_proxy"), proxy), **dict.fromkeys(("NO_PROXY", "no_proxy"), "")}
    return {**proxies, **{f"DATABRICKS_{name}": value for name, value in names.items()}}


def closed_port() -> str:
    """The address of a proxy that nobody answers at."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}"


@pytest.mark.parametrize(
    ("gateway", "command", "proxied"),
    [("databricks", "run", False), ("databricks", "run", True), ("duckdb", "publish", False)],
)
def test_a_databricks_that_does_not_answer_is_told_at_once(
    folder: Path, gateway: str, command: str, proxied: bool
) -> None:
    files = file_bytes(folder)
    with environment_of(folder, DATABASE_TYPE=gateway, **unreachable_databricks(closed_port() if proxied else "")):
        ended = run(folder, command)
    assert ended.exit_code == 1, ended.output
    assert "No connection to Databricks at nowhere.invalid" in ended.output
    assert "Check DATABRICKS_HOST, the network, HTTPS_PROXY and the CA (SSL_CERT_FILE)." in ended.output
    assert "Traceback" not in ended.output
    told = ("output-", "quality_reports/")
    left = {path: content for path, content in file_bytes(folder).items() if not path.startswith(told)}
    assert gateway == "duckdb" or left == files, "SQLMesh's state is not made before Databricks answers"
    reports = [path.read_text(encoding="utf-8") for path in (folder / "quality_reports").glob("*.json")]
    assert ["No connection to Databricks at nowhere.invalid" in report for report in reports] == (
        [True] if command == "run" else []
    )


def test_outputs_that_cannot_be_written_stop_the_export_alone(folder: Path, undisturbed: Undisturbed) -> None:
    outputs = folder / "outputs"
    shutil.rmtree(outputs)
    outputs.write_text("in the way")
    ended = run(folder, *RUN)
    assert ended.exit_code == 1, ended.output
    assert f"The export to {outputs} failed" in ended.output
    assert "Move it away" in ended.output
    assert "Traceback" not in ended.output
    (path,) = (folder / "quality_reports").glob("*.json")
    report = json.loads(path.read_text(encoding="utf-8"))
    assert report["status"] == "failed"
    assert report["test_results"]["failed"] == 0
    marts = stored_tables(folder, ["marts.account_summary"])
    assert_same_rows(undisturbed.tables["marts.account_summary"], marts["marts.account_summary"], "marts")
    outputs.unlink()
    assert run(folder, "export").exit_code == 0
    assert file_bytes(outputs) == undisturbed.outputs


def test_what_a_message_quotes_is_printed_as_it_is(folder: Path) -> None:
    """A folder may be named like the console's markup."""
    for name in ("[/red]", "[bold]"):
        ended = run(folder, "ingest", "--inputs", str(folder / name))
        assert ended.exit_code == 3, ended.output
        assert f"there is no folder {folder / name}" in ended.output
        assert "Traceback" not in ended.output
