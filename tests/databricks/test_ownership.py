"""Tables of the older system in the catalog: every command stops before it writes, and they stay as they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from scripts.pipeline import cli
from tests.databricks.fixture import RehearsalServer
from tests.databricks.lab import databricks_environment, execute, forget_everything
from tests.feed_strategies import write_feeds
from tests.reference import Load

pytestmark = pytest.mark.databricks

LOAD = Load(None, [("1", "Ana", "no")], [("A1", "1", "100", "savings")])  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def server(databricks_server: RehearsalServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RehearsalServer]:
    """A catalog that holds what the older system's dbt project left: a snapshot with dbt's columns, and a mart."""
    forget_everything(databricks_server, tmp_path_factory.mktemp("forgotten"))
    with databricks_environment(databricks_server, tmp_path_factory.mktemp("reader")):
        execute(
            databricks_server,
            "CREATE SCHEMA snapshots",
            "CREATE TABLE snapshots.snap_customer AS SELECT 1 AS customer_id, 'Alice' AS customer_name, "
            "'1' AS dbt_scd_id, TIMESTAMP'2024-01-01' AS dbt_updated_at, TIMESTAMP'2024-01-01' AS dbt_valid_from, "
            "CAST(NULL AS TIMESTAMP) AS dbt_valid_to",
            "CREATE SCHEMA marts",
            "CREATE TABLE marts.account_summary AS SELECT 'A1' AS account_id",
        )
        yield databricks_server
    forget_everything(databricks_server, tmp_path_factory.mktemp("forgotten_after"))


@pytest.mark.parametrize("command", ["run", "transform", "publish", "plan", "check", "status"])
def test_no_command_writes_where_tables_of_others_are(
    server: RehearsalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr("scripts.project.branch.environment_of_folder", lambda *_: "prod")
    write_feeds(LOAD, tmp_path / "inputs")
    schemas = execute(server, "SHOW SCHEMAS")
    versions = execute(server, "DESCRIBE HISTORY snapshots.snap_customer")
    with databricks_environment(server, tmp_path):
        ended = CliRunner().invoke(cli, [command])
    assert ended.exit_code == 4, ended.output
    assert "marts.account_summary, snapshots.snap_customer" in ended.output
    assert "DATABRICKS_CATALOG" in ended.output
    assert execute(server, "SHOW SCHEMAS") == schemas
    assert execute(server, "DESCRIBE HISTORY snapshots.snap_customer") == versions
    assert execute(server, "SELECT customer_name, dbt_scd_id FROM snapshots.snap_customer") == [("Alice", "1")]
    assert execute(server, "SELECT account_id FROM marts.account_summary") == [("A1",)]


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
        ended = CliRunner().invoke(cli, ["transform"])
        assert ended.exit_code == 4, ended.output
        assert "it writes to: marts.customer_profile." in ended.output
        assert execute(databricks_server, "SELECT answer FROM marts.customer_profile") == [(42,)]
        assert execute(databricks_server, "SELECT answer FROM marts.my_own") == [(42,)]
    forget_everything(databricks_server, tmp_path / "forgotten_after")
