"""`pipeline check` and `pipeline publish`: ways to sign in, what is missing, a DuckDB run's marts for everybody."""

from __future__ import annotations

import socket
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from scripts.errors import PipelineError, SettingsError
from scripts.ingest.load import create_landing
from scripts.outputs.publish import check_target
from scripts.pipeline import cli
from scripts.settings import databricks_of, load_settings
from scripts.warehouse.databricks import DatabricksWarehouse
from tests.compare import assert_same_rows
from tests.databricks.fixture import RehearsalServer
from tests.databricks.lab import Table, databricks_environment, execute
from tests.feed_strategies import write_feeds
from tests.lab import Rows, environment_of, open_in_another_process
from tests.marts import MARTS as EXPORTED
from tests.reference import Load, Reference

pytestmark = pytest.mark.databricks

STEPS = (
    "settings",
    "DNS and TLS",
    "token",
    "session",
    "warehouse",
    "catalog",
    "tables",
    "create",
    "volume",
    "state",
    "publish",
)


def invoke(server: RehearsalServer, folder: Path, *arguments: str, **settings: str) -> Result:
    with environment_of(folder, **{"DATABASE_TYPE": "databricks", **server.environment, **settings}):
        return CliRunner().invoke(cli, list(arguments))


def check(server: RehearsalServer, folder: Path, **settings: str) -> Result:
    return invoke(server, folder, "check", **settings)


def assert_stopped_at(result: Result, step: str, *words: str, exit_code: int = 1) -> None:
    """Checks that all steps before this one went well, and that it says what failed and what to do."""
    assert result.exit_code == exit_code, result.output
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


def test_check_names_the_process_that_has_the_state_open(databricks_server: RehearsalServer, tmp_path: Path) -> None:
    state = tmp_path / "lending_club.state.duckdb"
    with open_in_another_process(state):
        result = check(databricks_server, tmp_path)
    assert_stopped_at(result, "state", f"Another process has {state} open", "→ Close it and run again.")
    assert "STATE_HOST" not in result.output


def test_run_with_a_wrong_token_stops_before_it_begins(databricks_server: RehearsalServer, tmp_path: Path) -> None:
    ended = invoke(databricks_server, tmp_path, "run", DATABRICKS_TOKEN="dapi-wrong")
    assert ended.exit_code == 1, ended.output
    assert "the token is wrong, expired or revoked. Make a new token" in ended.output
    assert [path.name for path in tmp_path.iterdir()] == ["quality_reports"]


@pytest.mark.parametrize("missing", ["DATABRICKS_HTTP_PATH", "DATABRICKS_CATALOG"])
def test_check_names_the_setting_that_is_missing(
    databricks_server: RehearsalServer, tmp_path: Path, missing: str
) -> None:
    result = check(databricks_server, tmp_path, **{missing: ""})
    assert result.exit_code == 4
    assert missing in result.output


MARTS = ("account_summary", "customer_profile")
FIRST_AT = datetime(2024, 1, 15, 2)
CUSTOMERS = [("1", "Ann Lee", "yes"), ("2", "Zoë Ødegård", "no")]
ACCOUNTS = [("A1", "1", "100.10", "savings"), ("A2", "2", "7", "savings"), ("A3", "2", "9", "checking")]


@dataclass(frozen=True)
class Publisher:
    """A DuckDB database whose marts are published on the server, and what they must hold."""

    server: RehearsalServer
    folder: Path
    reference: Reference

    def take(self, load: Load) -> None:
        self.reference.take(load)
        write_feeds(load, self.folder / "inputs")
        ended = self.invoke("run", "--as-of", load.loaded_at.isoformat())
        assert ended.exit_code == 0, ended.output

    def invoke(self, *arguments: str, gateway: str = "duckdb") -> Result:
        """A command with the schema for_all as the place to publish in."""
        settings = {"DATABASE_TYPE": gateway, "DATABRICKS_SCHEMA": "for_all"}
        return invoke(self.server, self.folder, *arguments, **settings)

    def execute(self, *statements: str) -> list[tuple[Any, ...]]:
        with databricks_environment(self.server, self.folder):
            return execute(self.server, *statements)

    def assert_published(self, *arguments: str) -> None:
        """Publishes, and checks what everybody then reads."""
        ended = self.invoke("publish", *arguments)
        assert ended.exit_code == 0, ended.output
        assert ended.output.count("money checked") == 2
        for name in MARTS:
            expected = self.reference.tables()[f"marts.{name}"]
            assert_same_rows(expected, read(self.server, self.folder, f"for_all.{name}"), name)

    def assert_refused(self, ended: Result, *words: str) -> None:
        assert ended.exit_code == 4, ended.output
        for word in ("spark_catalog.for_all.account_summary", "nothing was written", "DATABRICKS_SCHEMA", *words):
            assert word in ended.output
        assert self.execute("SHOW TABLES IN for_all LIKE 'customer_profile'") == []


@pytest.fixture(scope="module")
def module_publisher(empty_server: RehearsalServer, folder: Path) -> Publisher:
    publisher = Publisher(empty_server, folder, Reference())
    publisher.take(Load(FIRST_AT, CUSTOMERS, ACCOUNTS))
    return publisher


@pytest.fixture
def publisher(module_publisher: Publisher) -> Publisher:
    """The publisher, with a schema in which there is somebody's table of another name, and nothing more."""
    module_publisher.execute(
        "DROP SCHEMA IF EXISTS for_all CASCADE",
        "CREATE SCHEMA for_all",
        "CREATE TABLE for_all.theirs AS SELECT 1 AS a",
    )
    return module_publisher


# As the older system made it: without the table feature that the marts' times need.
THEIR_TABLE = (
    "CREATE TABLE for_all.account_summary (account_id STRING, balance DOUBLE, calculated_at TIMESTAMP) "
    "PARTITIONED BY (account_id) TBLPROPERTIES ('team' = 'theirs')",
    "INSERT INTO for_all.account_summary VALUES ('theirs', 1.5, TIMESTAMP'2020-01-01 00:00:00')",
)
THEIR_ROW = "SELECT account_id, balance FROM for_all.account_summary"


def test_table_of_somebody_else_is_refused_before_the_load(publisher: Publisher) -> None:
    publisher.execute(*THEIR_TABLE)
    publisher.assert_refused(publisher.invoke("publish"), "not of this pipeline's making", "--replace")
    publisher.assert_refused(
        publisher.invoke("run", gateway="databricks"), "not of this pipeline's making", "--replace"
    )
    check = publisher.invoke("check", gateway="databricks")
    assert_stopped_at(check, "publish", "for_all.account_summary", "--replace", exit_code=4)
    assert publisher.execute(THEIR_ROW) == [("theirs", 1.5)]
    assert publisher.execute("SHOW TABLES IN landing") == []


def test_table_of_somebody_else_is_replaced_in_one_step_when_told_to(publisher: Publisher) -> None:
    publisher.execute(*THEIR_TABLE)
    publisher.assert_published("--replace")
    assert publisher.execute(f"{THEIR_ROW} VERSION AS OF 1") == [("theirs", 1.5)], "replaced, not dropped and made anew"
    assert ("team", "theirs") not in publisher.execute("SHOW TBLPROPERTIES for_all.account_summary")
    publisher.take(Load(FIRST_AT + timedelta(days=1), CUSTOMERS, [("A1", "1", "20000.005", "savings"), *ACCOUNTS[1:]]))
    publisher.assert_published()
    assert publisher.execute("SELECT a FROM for_all.theirs") == [(1,)]


def test_published_table_is_known_again_by_its_mark_or_else_by_its_columns(publisher: Publisher) -> None:
    add_column = "ALTER TABLE for_all.account_summary ADD COLUMN note STRING"
    remove_mark = "ALTER TABLE for_all.account_summary UNSET TBLPROPERTIES ('lending_club.published_from')"
    remove_column = (
        "CREATE OR REPLACE TABLE for_all.account_summary AS SELECT * EXCEPT (note) FROM for_all.account_summary"
    )
    publisher.assert_published()
    with databricks_environment(publisher.server, publisher.folder, DATABRICKS_SCHEMA="for_all"):
        target = databricks_of(load_settings())
        with closing(DatabricksWarehouse(target)) as warehouse:
            publisher.execute(add_column)
            check_target(warehouse, target, EXPORTED, replace=False)
            publisher.execute(remove_mark)
            with pytest.raises(SettingsError, match="not of this pipeline's making"):
                check_target(warehouse, target, EXPORTED, replace=False)
            # As the first version of this project published it.
            publisher.execute(remove_column)
            check_target(warehouse, target, EXPORTED, replace=False)


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("CREATE VIEW for_all.account_summary AS SELECT 1 AS a", "is a view"),
        ("CREATE TABLE for_all.account_summary USING parquet AS SELECT 1 AS a", "is no Delta table"),
        (
            "CREATE TABLE for_all.account_summary TBLPROPERTIES ('delta.appendOnly' = 'true') AS SELECT 1 AS a",
            "may only grow",
        ),
    ],
    ids=["view", "parquet", "append only"],
)
def test_what_can_not_be_replaced_in_one_step_is_refused_always(
    publisher: Publisher, statement: str, what: str
) -> None:
    publisher.execute(statement)
    publisher.assert_refused(publisher.invoke("publish", "--replace"), what)
    assert publisher.execute("SELECT * FROM for_all.account_summary") == [(1,)]


def test_messages_keep_the_error_class_and_its_first_sentence(publisher: Publisher) -> None:
    """Of a statement of ours, which comes by way of Spark's Python, and of one of SQLMesh's adapter."""
    publisher.execute(*THEIR_TABLE)
    with databricks_environment(publisher.server, publisher.folder):
        with closing(DatabricksWarehouse(databricks_of(load_settings()))) as warehouse:
            create_landing(warehouse)
            with pytest.raises(PipelineError) as refused:
                warehouse.execute(
                    "CREATE OR REPLACE TABLE for_all.account_summary AS SELECT CAST(NULL AS TIMESTAMP) AS a"
                )
        publisher.execute("CREATE OR REPLACE TABLE landing.customer AS SELECT TRUE AS loaded_at")
        failed = CliRunner().invoke(cli, ["transform"])
        publisher.execute("DROP SCHEMA landing CASCADE")
    assert "[DELTA_FEATURES_REQUIRE_MANUAL_ENABLEMENT] Your table schema requires" in str(refused.value)
    assert failed.exit_code == 5, failed.output
    assert "[DATATYPE_MISMATCH." in failed.output
    assert "] Cannot resolve " in failed.output
    for message in (str(refused.value), failed.output):
        for noise in ("An error occurred", "\tat ", "'Project", "SQLSTATE", "Traceback"):
            assert noise not in message


def read(server: RehearsalServer, folder: Path, table: str) -> Rows:
    with (
        databricks_environment(server, folder),
        closing(DatabricksWarehouse(databricks_of(load_settings()))) as warehouse,
    ):
        return Table.read(warehouse, table).rows
