"""What SQLMesh finds wrong with the project or its state is said in its own words, with the remedy that fits."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlmesh.core.macros import macro
from sqlmesh.utils import UniqueKeyDict

import scripts.project.transform
from scripts.pipeline import cli
from scripts.warehouse.duckdb import DuckDBWarehouse
from tests.feed_strategies import write_feeds
from tests.lab import copy_project, environment_of, stored_tables, tell
from tests.reference import Load

FIRST = Load(datetime(2024, 1, 15, 2), [("1", "Ana", "no")], [("A1", "1", "100", "savings")])
SQLMESH = Path(sys.executable).with_name("sqlmesh")
LATER = "2024-01-16T02:00:00"
STAGING = "models/staging/stg_account.sql"
JUDGED = "models/staging/judged_account.sql"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline with a load; what is refused leaves it as it is."""
    return tell(tmp_path_factory.mktemp("first"), [FIRST]).folder


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    copy_project(tmp_path / "project")
    monkeypatch.setattr(scripts.project.transform, "PROJECT_ROOT", tmp_path / "project")
    # A process of its own knows SQLMesh's macros only; in this one, other tests may have read the project's.
    registered = macro.get_registry()
    own = {name: one for name, one in registered.items() if one.func.__module__.startswith("sqlmesh.")}
    macro.set_registry(UniqueKeyDict("macros", **own))
    yield tmp_path / "project"
    macro.set_registry(registered)


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def run(folder: Path, *arguments: str) -> Result:
    with environment_of(folder):
        return CliRunner().invoke(cli, list(arguments))


BREACHES = {
    "a column without a description": (
        (STAGING, " /* Account id */", ""),
        ("staging.stg_account: rule columnsdescribed:", "column 'account_id' has no description"),
    ),
    "a column that is not there": (
        (STAGING, "customer_id::BIGINT", "customer_idd::BIGINT"),
        ("staging.stg_account: rule ambiguousorinvalidcolumn: Column 'customer_idd' could not be resolved",),
    ),
    "a layer that is not the one before": (
        (STAGING, "FROM staging.judged_account", "FROM staging.judgd_account"),
        ("staging.stg_account: rule readslayerbefore: Model staging.stg_account reads staging.judgd_account",),
    ),
}


class TestLinter:
    @pytest.mark.parametrize(("edit", "said"), BREACHES.values(), ids=BREACHES.keys())
    def test_a_run_names_rule_and_model_before_anything_is_written(
        self, edit: tuple[str, str, str], said: tuple[str, ...], folder: Path, project: Path
    ) -> None:
        change(project / edit[0], *edit[1:])
        ended = run(folder, "run", "--as-of", LATER)
        assert ended.exit_code == 4, ended.output
        for sentence in (*said, "Nothing was written", "`sqlmesh lint`"):
            assert sentence in ended.output
        assert len(stored_tables(folder, ["landing.load"])["landing.load"]) == 2

    def test_what_the_message_names_shows_the_same(self, folder: Path, project: Path) -> None:
        change(project / STAGING, " /* Account id */", "")
        with environment_of(folder):
            ended = subprocess.run([SQLMESH, "--paths", project, "lint"], capture_output=True, text=True)
        assert ended.returncode != 0
        assert "column 'account_id' has no description" in ended.stdout

    def test_a_first_run_does_so_too(self, project: Path, tmp_path: Path) -> None:
        change(project / STAGING, " /* Account id */", "")
        write_feeds(FIRST, tmp_path / "inputs")
        ended = run(tmp_path, "run", "--as-of", FIRST.loaded_at.isoformat())
        assert ended.exit_code == 4, ended.output
        assert "staging.stg_account: rule columnsdescribed:" in ended.output
        change(project / STAGING, "account_key::TEXT AS account_id,", "account_key::TEXT AS account_id, /* Id */")
        mended = run(tmp_path, "run", "--as-of", FIRST.loaded_at.isoformat())
        assert mended.exit_code == 0, mended.output


UNLOADABLE = {
    "a syntax error": (
        (STAGING, "DECIMAL(18, 2)", "DECIMAL(18, 2"),
        ("stg_account.sql", "Expected type. Line 21", "balance_amount::DECIMAL(18, 2,"),
    ),
    "an unknown macro": (
        (JUDGED, "@is_absent(balance)", "@is_abzent(balance)"),
        ("judged_account.sql", "Macro 'is_abzent' does not exist."),
    ),
    "a macro that fails": (
        ("macros/text.py", "def is_absent(", "def is_absent(*args):\n    raise ValueError('no good')\n\n\ndef was("),
        ("An error occurred during evaluation of 'is_absent'", "macros/text.py", "ValueError: no good"),
    ),
    "a macro that can't be read": (
        ("macros/history.py", "def ", "def ("),
        ("SyntaxError", "history.py, line"),
    ),
    "an unknown audit": (
        (JUDGED, "    not_negative(", "    not_negatif("),
        ("judged_account.sql", "Audit 'not_negatif' is undefined"),
    ),
    "an unknown setting": (
        ("config.py", '"model_defaults"', '"model_defauls"'),
        ("config.py: ", "model_defauls", "Extra inputs are not permitted"),
    ),
    "a config that is no Python": (
        ("config.py", '"model_defaults"', '"model_defaults"]'),
        ("config.py", "closing parenthesis ']' does not match opening parenthesis '{'", "line "),
    ),
    "a unit test that is no YAML": (
        ("tests/models/test_stg_account.yaml", "  model: ", "  model: ]"),
        ("tests/models/test_stg_account.yaml: ", "did not find expected node content", "line 2, column "),
    ),
}


@pytest.mark.parametrize(("edit", "said"), UNLOADABLE.values(), ids=UNLOADABLE.keys())
def test_a_project_that_cannot_be_loaded_names_the_file_and_what_is_wrong_in_it(
    edit: tuple[str, str, str], said: tuple[str, ...], folder: Path, project: Path
) -> None:
    change(project / edit[0], *edit[1:])
    ended = run(folder, "run", "--as-of", LATER)
    assert ended.exit_code == 1, ended.output
    assert "Stopped. The SQLMesh project can't be loaded: " in ended.output
    for sentence in said:
        assert sentence in ended.output
    assert "\x1b" not in ended.output
    assert len(ended.output.splitlines()) < 20, "the text of a whole model is no part of a message"


class TestStateOfAnotherVersion:
    @pytest.fixture
    def own(self, folder: Path, tmp_path: Path) -> Path:
        (tmp_path / "lending_club.duckdb").write_bytes((folder / "lending_club.duckdb").read_bytes())
        write_feeds(FIRST, tmp_path / "inputs")
        return tmp_path

    def set_version(self, folder: Path, version: str) -> None:
        warehouse = DuckDBWarehouse.open(folder / "lending_club.duckdb")
        warehouse.execute(f"UPDATE sqlmesh._versions SET {version}")
        warehouse.close()

    def test_an_older_one_is_brought_up_to_date_as_the_message_says(self, own: Path, project: Path) -> None:
        self.set_version(own, "sqlmesh_version = '0.235.0'")
        stopped = run(own, "transform")
        assert stopped.exit_code == 1, stopped.output
        assert "SQLMesh's state was written by an older version" in stopped.output
        assert "ahead of '0.235.0'" in stopped.output
        assert "`sqlmesh migrate`" in stopped.output
        with environment_of(own):
            subprocess.run([SQLMESH, "--paths", project, "migrate"], capture_output=True, check=True)
        again = run(own, "transform")
        assert again.exit_code == 0, again.output

    def test_a_newer_one_asks_for_a_newer_project(self, own: Path) -> None:
        self.set_version(own, "schema_version = schema_version + 1")
        stopped = run(own, "transform")
        assert stopped.exit_code == 1, stopped.output
        assert "SQLMesh's state was written by a newer version" in stopped.output
        assert "`git pull`, `make setup`" in stopped.output
        assert "pip install" not in stopped.output
