"""A run that fails tells whoever started it, and leaves a report that `status` tells of, however early it failed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner, Result

from scripts.errors import EXIT_CODES
from scripts.pipeline import cli
from scripts.settings import PROJECT_ROOT
from tests.feed_strategies import write_feeds
from tests.lab import copy_project, environment_of, open_in_another_process
from tests.reference import Load

FIRST = Load(datetime(2024, 1, 15, 2), [("1", "Ana", "no")], [("A1", "1", "100", "savings")])


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a pipeline whose last run went well."""
    folder = tmp_path_factory.mktemp("good")
    write_feeds(FIRST, folder / "inputs")
    with environment_of(folder):
        assert invoke("run", "--as-of", FIRST.loaded_at.isoformat()).exit_code == 0
    return folder


@pytest.fixture
def folder(good: Path, tmp_path: Path) -> Iterator[Path]:
    shutil.copytree(good, tmp_path, dirs_exist_ok=True)
    with environment_of(tmp_path):
        yield tmp_path


def invoke(*arguments: str, **settings: str) -> Result:
    return CliRunner().invoke(cli, list(arguments), env=settings, catch_exceptions=False)


def assert_told(folder: Path, failed: Result, code: int, sentence: str) -> None:
    """Checks the exit code, the newest report and what `status` says of it."""
    assert failed.exit_code == code, failed.output
    path = max((folder / "quality_reports").glob("*.json"))
    report = json.loads(path.read_text(encoding="utf-8"))
    assert (report["status"], report["verdict"]) == ("failed", "failed")
    assert report["error"].startswith(sentence)
    assert sentence in path.with_suffix(".html").read_text(encoding="utf-8").replace("&#39;", "'")
    status = invoke("status")
    assert status.exit_code == 1
    (line,) = (line for line in status.output.splitlines() if "last run" in line)
    assert line.startswith("!")
    assert f"UTC: The run failed. {sentence}" in line
    assert f"{path}: failed" in status.output


def test_a_refused_feed(folder: Path) -> None:
    (folder / "inputs" / "accounts.csv").write_text("")
    failed = invoke("run")
    assert_told(folder, failed, 3, f"{folder / 'inputs' / 'accounts.csv'} is empty (0 bytes).")
    assert "last success" in invoke("status").output, "what stands is still told"


def test_a_database_in_use(folder: Path) -> None:
    database = folder / "lending_club.duckdb"
    with open_in_another_process(database):
        failed = invoke("run")
        assert_told(folder, failed, 1, f"Another process has {database} open")


def test_a_wrong_setting(folder: Path) -> None:
    failed = invoke("run", MAX_REMOVED_SHARE="half")
    assert_told(folder, failed, 4, "MAX_REMOVED_SHARE is 'half'; it must be a fraction between 0 and 1")
    failed = invoke("transform", DATABASE_TYPE="oracle")
    assert_told(folder, failed, 4, "DATABASE_TYPE is 'oracle'; it must be one of: duckdb, databricks.")


def test_a_database_of_somebody_else(folder: Path) -> None:
    (folder / "lending_club.duckdb").unlink()
    with duckdb.connect(str(folder / "lending_club.duckdb")) as other:
        other.execute("CREATE SCHEMA marts; CREATE TABLE marts.mine (a INT)")
    failed = invoke("run")
    assert failed.exit_code == 4, failed.output
    report = json.loads(max((folder / "quality_reports").glob("*.json")).read_text(encoding="utf-8"))
    assert "holds what this project did not make, in schemas that it writes to: marts.mine." in report["error"]


def test_a_project_that_cannot_be_loaded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = folder / "project"
    copy_project(project)
    (project / "models" / "marts" / "account_summary.sql").write_text("MODEL (name marts.account_summary); SELEC 1")
    monkeypatch.setattr("scripts.project.transform.PROJECT_ROOT", project)
    assert_told(folder, invoke("run"), 1, "The SQLMesh project can't be loaded: ")


def test_a_run_that_goes_well_is_the_last_one_again(folder: Path) -> None:
    invoke("run", MAX_REMOVED_SHARE="half")
    assert invoke("run").exit_code == 0
    status = invoke("status")
    assert status.exit_code == 0, status.output
    (line,) = (line for line in status.output.splitlines() if "last run" in line)
    assert line.startswith("✓")
    assert "UTC: Passed" in line


@pytest.mark.parametrize("command", ["ingest", "export", "audit"])
def test_a_step_alone_leaves_no_report(folder: Path, command: str) -> None:
    files = list((folder / "quality_reports").iterdir())
    assert invoke(command, MAX_REMOVED_SHARE="half").exit_code == 4
    assert list((folder / "quality_reports").iterdir()) == files


class TestExitCode:
    """The last line of a process names it, for make turns every code but 0 into 2."""

    @pytest.mark.parametrize(
        ("arguments", "settings", "code"),
        [(["--nope"], {}, 2), ([], {"MAX_REMOVED_SHARE": "half"}, 4), (["--inputs", "none"], {}, 3)],
    )
    def test_of_a_process(self, tmp_path: Path, arguments: list[str], settings: dict[str, str], code: int) -> None:
        with environment_of(tmp_path, **settings):
            ended = run([sys.executable, "-m", "scripts.pipeline", "run", *arguments])
        assert ended.returncode == code
        assert ended.stdout.splitlines()[-1] == f"Exit code {code}: {EXIT_CODES[code]}."

    def test_of_an_error_that_nobody_expects(self, tmp_path: Path) -> None:
        crash = "from scripts import job, pipeline; job.Job = None; pipeline.main()"
        with environment_of(tmp_path):
            ended = run([sys.executable, "-c", crash, "run"])
        assert ended.returncode == 1
        assert "TypeError: 'NoneType' object is not callable" in ended.stderr
        assert ended.stdout.splitlines()[-1] == f"Exit code 1: {EXIT_CODES[1]}."
        assert list((tmp_path / "quality_reports").glob("*.html"))

    def test_of_make_run(self, tmp_path: Path) -> None:
        make = shutil.which("make")
        assert make, "make is not on the PATH"
        with environment_of(tmp_path, MAX_REMOVED_SHARE="half"):
            ended = run([make, "--no-print-directory", "--old-file=setup", f"PY={sys.executable}", "ARGS=", "run"])
        assert ended.returncode == 2
        assert ended.stdout.splitlines()[-1] == f"Exit code 4: {EXIT_CODES[4]}."


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True)
