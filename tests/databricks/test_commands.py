"""`pipeline check` and `pipeline publish`: ways to sign in, what is missing, a DuckDB run's marts for everybody."""

from __future__ import annotations

import socket
from contextlib import closing
from datetime import datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from scripts.pipeline import cli
from scripts.settings import databricks_of, load_settings
from scripts.warehouse.databricks import DatabricksWarehouse
from tests.compare import assert_same_rows
from tests.databricks.fixture import RehearsalServer
from tests.databricks.lab import Table, databricks_environment
from tests.feed_strategies import write_feeds
from tests.lab import Rows, environment_of
from tests.reference import Load, Reference

pytestmark = pytest.mark.databricks

STEPS = ("settings", "DNS and TLS", "token", "session", "warehouse", "catalog", "tables", "create", "volume", "state")


def check(server: RehearsalServer, folder: Path, **settings: str) -> Result:
    with environment_of(folder, **{"DATABASE_TYPE": "databricks", **server.environment, **settings}):
        return CliRunner().invoke(cli, ["check"])


def assert_stopped_at(result: Result, step: str, *words: str) -> None:
    """Checks that all steps before this one went well, and that it says what failed and what to do."""
    assert result.exit_code == 1, result.output
    lines = result.output.splitlines()
    assert [line.split("  ")[0] for line in lines[:-1]] == [
        *(f"✓ {name}" for name in STEPS[: STEPS.index(step)]),
        f"✗ {step}",
    ]
    assert lines[-1].lstrip().startswith("→ ")
    for word in words:
        assert word in result.output


@pytest.mark.parametrize("is_machine", [False, True], ids=["token", "service principal"])
def test_check_tries_every_step(databricks_server: RehearsalServer, tmp_path: Path, is_machine: bool) -> None:
    secret = databricks_server.environment["DATABRICKS_TOKEN"]
    principal = {"DATABRICKS_TOKEN": "", "DATABRICKS_CLIENT_ID": "rehearsal", "DATABRICKS_CLIENT_SECRET": secret}
    result = check(databricks_server, tmp_path, **(principal if is_machine else {}))
    assert result.exit_code == 0, result.output
    assert [line.split("  ")[0] for line in result.output.splitlines()] == [f"✓ {name}" for name in STEPS]


def test_check_names_a_wrong_token(databricks_server: RehearsalServer, tmp_path: Path) -> None:
    result = check(databricks_server, tmp_path, DATABRICKS_TOKEN="dapi-wrong")
    assert_stopped_at(result, "token", "wrong, expired or revoked", "DATABRICKS_TOKEN")


def test_check_names_a_wrong_secret(databricks_server: RehearsalServer, tmp_path: Path) -> None:
    result = check(
        databricks_server,
        tmp_path,
        DATABRICKS_TOKEN="",
        DATABRICKS_CLIENT_ID="rehearsal",
        DATABRICKS_CLIENT_SECRET="wrong",
    )
    assert_stopped_at(result, "session", "invalid_client")


def test_check_names_a_certificate_that_is_not_trusted(databricks_server: RehearsalServer, tmp_path: Path) -> None:
    (tmp_path / "none.pem").write_text("")
    result = check(databricks_server, tmp_path, SSL_CERT_FILE=str(tmp_path / "none.pem"))
    assert_stopped_at(result, "DNS and TLS", "certificate", "SSL_CERT_FILE")


def test_check_names_a_state_that_does_not_answer(databricks_server: RehearsalServer, tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        state = {"STATE_HOST": "127.0.0.1", "STATE_PORT": str(port), "STATE_USER": "nobody", "STATE_PASSWORD": "none"}
        result = check(databricks_server, tmp_path, **state)
    assert_stopped_at(result, "state", "STATE_HOST")


@pytest.mark.parametrize("missing", ["DATABRICKS_HTTP_PATH", "DATABRICKS_CATALOG"])
def test_check_names_the_setting_that_is_missing(
    databricks_server: RehearsalServer, tmp_path: Path, missing: str
) -> None:
    result = check(databricks_server, tmp_path, **{missing: ""})
    assert result.exit_code == 4
    assert missing in result.output


def test_marts_of_a_duckdb_run_are_published_and_replaced(empty_server: RehearsalServer, tmp_path: Path) -> None:
    reference = Reference()
    settings = {**empty_server.environment, "DATABASE_TYPE": "duckdb", "DATABRICKS_SCHEMA": "for_all"}
    for day, balance in ((15, "100.10"), (16, "20000.005")):
        customers = [("1", "Ann Lee", "yes"), ("2", "Zoë Ødegård", "no")]
        accounts = [("A1", "1", balance, "savings"), ("A2", "2", "7", "savings"), ("A3", "2", "9", "checking")]
        load = Load(datetime(2024, 1, day, 2), customers, accounts)
        reference.take(load)
        write_feeds(load, tmp_path / "inputs")
        with environment_of(tmp_path, **settings):
            run = CliRunner().invoke(cli, ["run", "--as-of", load.loaded_at.isoformat()])
            assert run.exit_code == 0, run.output
            published = CliRunner().invoke(cli, ["publish"])
        assert published.exit_code == 0, published.output
        assert "for_all.account_summary" in published.output
        assert published.output.count("money checked") == 2
        for name in ("account_summary", "customer_profile"):
            assert_same_rows(reference.tables()[f"marts.{name}"], read(empty_server, tmp_path, f"for_all.{name}"), name)


def read(server: RehearsalServer, folder: Path, table: str) -> Rows:
    with (
        databricks_environment(server, folder),
        closing(DatabricksWarehouse(databricks_of(load_settings()))) as warehouse,
    ):
        return Table.read(warehouse, table).rows
