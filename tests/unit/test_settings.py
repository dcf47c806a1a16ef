"""What a person sets reaches our commands and SQLMesh alike, whatever is in it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from sqlmesh.core.config import Config
from sqlmesh.core.config.loader import load_config_from_paths

from scripts.errors import SettingsError
from scripts.settings import PROJECT_ROOT, Settings, load_settings
from tests.lab import copy_project
from tools.env_example import env_example

SQLMESH = Path(sys.executable).with_name("sqlmesh")
# What SQL, YAML, Jinja and the reader of .env make something of.
AWKWARD = """it's a "secret" \\ {{ 1 }} %20 $HOME #"""
DATABRICKS = {
    "DATABRICKS_HOST": "https://bank.example/",
    "DATABRICKS_HTTP_PATH": "/sql/1.0/warehouses/1",
    "DATABRICKS_CATALOG": "main",
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DUCKDB_PATH", str(tmp_path / "lending_club.duckdb"))
    return tmp_path


def given(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def config() -> Config:
    return load_config_from_paths(Config, [PROJECT_ROOT / "config.py"])


def test_the_example_is_what_is_declared() -> None:
    example = (PROJECT_ROOT / ".env.example").read_text(encoding="utf-8")
    assert example == env_example(), "run `python -m tools.env_example`"
    assert [line for line in example.splitlines() if line and not line.startswith("#")] == []


def test_each_default_of_the_example_is_what_is_taken_when_nothing_is_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("DUCKDB_PATH")
    nothing_set = load_settings()
    for name, value in re.findall(r"^# ([A-Z_]+)=(.+)$", env_example(), re.MULTILINE):
        monkeypatch.setenv(name, value)
    all_set = load_settings()
    examples = {name for name, field in Settings.model_fields.items() if field.examples}
    assert all_set.model_dump(exclude=examples) == nothing_set.model_dump(exclude=examples)
    assert all_set.databricks is not None


def test_the_readmes_section_names_every_setting_and_its_default() -> None:
    readme = (PROJECT_ROOT / "README.md").read_text(encoding="utf-8")
    section = readme.split("\n## Settings\n")[1].split("\n## ")[0]
    named = dict(re.findall(r"`([A-Z_]+(?:\*)?)`(?: \(([\d.]+)[ )])?", section))
    for field in Settings.model_fields.values():
        assert field.alias
        name = field.alias if field.alias in named else field.alias.partition("_")[0] + "_*"
        assert named[name] in ("", str(field.default)), field.alias


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("DATABASE_TYPE", "oracle", "DATABASE_TYPE is 'oracle'; it must be one of: duckdb, databricks."),
        (
            "MAX_REMOVED_SHARE",
            "half",
            "MAX_REMOVED_SHARE is 'half'; it must be a fraction between 0 and 1, such as 0.5.",
        ),
        ("MAX_COLUMN_SHIFT", "1.5", "MAX_COLUMN_SHIFT is '1.5'; it must be a fraction between 0 and 1, such as 0.5."),
        (
            "WARN_REMOVED_SHARE",
            "nan",
            "WARN_REMOVED_SHARE is 'nan'; it must be a fraction between 0 and 1, such as 0.5.",
        ),
        ("LOCK_TIMEOUT", "inf", "LOCK_TIMEOUT is 'inf'; it must be a number of seconds, such as 60."),
        ("LOCK_TIMEOUT", "-1", "LOCK_TIMEOUT is '-1'; it must be a number of seconds, such as 60."),
        ("STATE_PORT", "http", "STATE_PORT is 'http'; it must be the number of a port, such as 5432."),
        ("DATABRICKS_VOLUME", "feed", "DATABRICKS_VOLUME is 'feed'; it must be schema.volume, as in landing.feed."),
        ("DATABASE_TYPE", "databricks", "Databricks is not configured. Set DATABRICKS_HOST, "),
        ("DATABRICKS_HOST", "h", "configured in part; also set: DATABRICKS_HTTP_PATH, DATABRICKS_CATALOG."),
    ],
)
def test_a_wrong_value_is_named_with_what_it_must_be(
    variable: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=re.escape(said)):
        load_settings()


def test_an_empty_value_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    before = load_settings()
    for field in Settings.model_fields.values():
        if field.alias and field.alias != "DUCKDB_PATH":
            monkeypatch.setenv(field.alias, " ")
    assert load_settings() == before


def test_a_secret_stands_in_no_text_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, **DATABRICKS, DATABRICKS_TOKEN="s3cret", STATE_PASSWORD="s3cret")
    settings = load_settings()
    assert settings.databricks is not None
    assert settings.databricks.token == settings.state_password == "s3cret"
    assert "s3cret" not in f"{settings!r} {settings.databricks!r}"


def test_sqlmesh_gets_every_value_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, **DATABRICKS, DATABRICKS_TOKEN=AWKWARD)
    given(monkeypatch, STATE_HOST="state", STATE_USER=AWKWARD, STATE_PASSWORD=AWKWARD)
    gateway = config().gateways["databricks"].model_dump()
    assert gateway["connection"]["server_hostname"] == "bank.example"
    assert gateway["connection"]["access_token"] == AWKWARD
    assert gateway["state_connection"]["user"] == gateway["state_connection"]["password"] == AWKWARD


def test_reading_them_sets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, **DATABRICKS, DATABASE_TYPE="DuckDB")
    before = dict(os.environ)
    load_settings()
    config()
    assert dict(os.environ) == before


class TestDotenv:
    """Our commands and plain `sqlmesh` agree on what wins: the environment, then `.env`."""

    @pytest.fixture
    def project(self, tmp_path: Path) -> Path:
        copy_project(tmp_path / "project")
        return tmp_path / "project"

    def database_of(self, command: list[str], project: Path, **variables: str) -> str:
        """Name of the DuckDB file that a command makes."""
        environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        ended = subprocess.run(
            command,
            cwd=project,
            env=environment | variables,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        made = sorted({path.name for path in project.rglob("*.duckdb")})
        assert len(made) == 1, ended.stdout + ended.stderr
        return made[0]

    @pytest.mark.parametrize(
        "command",
        [[sys.executable, "-m", "scripts.pipeline", "run"], [str(SQLMESH), "environments"]],
        ids=("ours", "sqlmesh"),
    )
    @pytest.mark.parametrize(
        ("variables", "expected"),
        [({}, "of file.duckdb"), ({"DUCKDB_PATH": "data/of environment.duckdb"}, "of environment.duckdb")],
        ids=("nothing else", "environment"),
    )
    def test_both_go_by_the_same(
        self, command: list[str], variables: dict[str, str], expected: str, project: Path
    ) -> None:
        (project / ".env").write_text("DUCKDB_PATH='data/of file.duckdb'\n", encoding="utf-8")
        assert self.database_of(command, project, **variables) == expected
