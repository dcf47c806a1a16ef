"""Tables of the older system in the catalog: every command stops before it writes, and they stay as they are."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from scripts.pipeline import cli
from scripts.settings import PROJECT_ROOT
from scripts.warehouse.databricks import to_databricks
from tests import older_system
from tests.databricks.fixture import RehearsalServer
from tests.databricks.lab import databricks_environment, everything, execute, forget_everything
from tests.feed_strategies import write_feeds
from tests.reference import Load

SQLMESH = str(Path(sys.executable).with_name("sqlmesh"))

pytestmark = pytest.mark.databricks

LOAD = Load(None, [("1", "Ana", "no")], [("A1", "1", "100", "savings")])  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def server(databricks_server: RehearsalServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RehearsalServer]:
    """A catalog that holds what the older system's dbt project leaves."""
    forget_everything(databricks_server, tmp_path_factory.mktemp("forgotten"))
    # dbt keeps no time without a time zone there, and target schemas of any name.
    made = [to_databricks(sql).replace("TIMESTAMP_NTZ", "TIMESTAMP") for sql in older_system.statements("dbt")]
    with databricks_environment(databricks_server, tmp_path_factory.mktemp("reader")):
        execute(databricks_server, "CREATE SCHEMA dbt", *made)
        yield databricks_server
    forget_everything(databricks_server, tmp_path_factory.mktemp("forgotten_after"))


@pytest.mark.parametrize("command", ["run", "transform", "publish", "plan", "check", "status"])
def test_no_command_writes_where_tables_of_others_are(
    server: RehearsalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr("scripts.project.branch.environment_of_folder", lambda *_: "prod")
    write_feeds(LOAD, tmp_path / "inputs")
    with databricks_environment(server, tmp_path):
        before = everything(server)
        ended = CliRunner().invoke(cli, [command])
        assert ended.exit_code == 4, ended.output
        assert f"it writes to: {older_system.OF_OTHERS}. Nothing was written." in ended.output
        assert "DATABRICKS_CATALOG" in ended.output
        assert everything(server) == before
    assert {schema: len(tables) for schema, tables in before.items() if tables} == {
        "dbt": 6,
        "marts": 2,
        "snapshots": 2,
    }


def test_a_plain_plan_writes_nothing_either(server: RehearsalServer, tmp_path: Path) -> None:
    with databricks_environment(server, tmp_path):
        before = everything(server)
        command = [SQLMESH, "--paths", str(PROJECT_ROOT), "plan", "--auto-apply", "--no-prompts", "--skip-tests"]
        ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        assert ended.returncode == 1, ended.stdout
        assert f"it writes to: {older_system.OF_OTHERS}. Nothing was written." in ended.stdout
        assert "DATABRICKS_CATALOG" in ended.stdout
        assert everything(server) == before


@pytest.mark.parametrize("kind", ["TABLE", "VIEW"])
def test_what_took_the_place_of_a_view_is_not_replaced(
    databricks_server: RehearsalServer, tmp_path: Path, kind: str
) -> None:
    forget_everything(databricks_server, tmp_path / "forgotten")
    write_feeds(LOAD, tmp_path / "inputs")
    with databricks_environment(databricks_server, tmp_path):
        assert CliRunner().invoke(cli, ["run"]).exit_code == 0
        execute(
            databricks_server,
            "DROP VIEW marts.customer_profile",
            f"CREATE {kind} marts.customer_profile AS SELECT 42 AS answer",
            "CREATE TABLE marts.my_own AS SELECT 42 AS answer",
        )
        before = everything(databricks_server)
        ended = CliRunner().invoke(cli, ["transform"])
        assert ended.exit_code == 4, ended.output
        assert "it writes to: marts.customer_profile." in ended.output
        assert everything(databricks_server) == before
    forget_everything(databricks_server, tmp_path / "forgotten_after")
