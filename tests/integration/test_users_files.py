"""The inputs folder is the user's: a first run puts the sample there, and nothing that a user changes is tracked."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from scripts.feeds import FEEDS
from scripts.ingest.sample import SAMPLE
from scripts.pipeline import cli
from scripts.settings import PROJECT_ROOT
from tests.e2e.sample import replace_line
from tests.lab import copy_project, environment_of, file_bytes, stored_tables


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_nothing_that_a_run_or_an_edit_of_the_inputs_touches_is_tracked(tmp_path: Path) -> None:
    project = tmp_path / "project"
    copy_project(project)
    shutil.copytree(SAMPLE, project / "data" / "sample")
    shutil.copy(PROJECT_ROOT / ".gitignore", project)
    git(tmp_path, "init", "--quiet", "--initial-branch=main", str(project))
    git(project, "add", ".")
    as_somebody = ("-c", "user.name=Somebody", "-c", "user.email=somebody@example.com")
    git(project, *as_somebody, "commit", "--quiet", "--message=All of it")
    assert "data/sample/Customer.csv" in git(project, "ls-files")
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    for step, reads in (("run", "26 new"), ("ingest", "1 changed")):
        command = [sys.executable, "-m", "scripts.pipeline", step]
        ended = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert reads in ended.stdout
        if step == "run":
            replace_line(project / "data/inputs/Customer.csv", "1,Alice Johnson,Yes", "1,Alice Meyer,Yes")
        assert git(project, "status", "--porcelain") == ""
    assert "the sample was copied" not in ended.stdout


class TestFirstRun:
    """The default folder of the inputs, with and without feeds."""

    @pytest.fixture
    def default(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setattr("scripts.ingest.sample.DEFAULT_INPUT_PATH", tmp_path / "inputs")
        return tmp_path / "inputs"

    def ingest(self, folder: Path, inputs: Path) -> Result:
        with environment_of(folder, INPUT_PATH=str(inputs)):
            return CliRunner().invoke(cli, ["ingest"], catch_exceptions=False)

    def test_it_takes_the_sample_and_says_so_and_later_what_is_missing_is_refused(
        self, default: Path, tmp_path: Path
    ) -> None:
        first = self.ingest(tmp_path, default)
        assert first.exit_code == 0, first.output
        assert f"no feeds there yet: the sample was copied from {SAMPLE}" in first.output
        assert file_bytes(default) == file_bytes(SAMPLE)
        for feed in FEEDS:
            (default / feed.file_name).unlink()
        later = self.ingest(tmp_path, default)
        assert later.exit_code == 3, later.output
        assert list(default.iterdir()) == []
        assert len(stored_tables(tmp_path, ["landing.load"])["landing.load"]) == 2

    def test_one_missing_file_is_refused(self, default: Path, tmp_path: Path) -> None:
        default.mkdir()
        shutil.copy(SAMPLE / "Customer.csv", default)
        refused = self.ingest(tmp_path, default)
        assert refused.exit_code == 3, refused.output
        assert "accounts.csv" in refused.output
        assert [path.name for path in default.iterdir()] == ["Customer.csv"]

    def test_in_another_folder_missing_files_are_refused(self, default: Path, tmp_path: Path) -> None:
        refused = self.ingest(tmp_path, tmp_path / "others")
        assert refused.exit_code == 3, refused.output
        assert not (tmp_path / "others").exists()
        assert not default.exists()
