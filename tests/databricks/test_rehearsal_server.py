"""The rehearsal server against the connector and SQLMesh as they are installed, unmodified."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

sql = pytest.importorskip("databricks.sql")

from databricks.sql.exc import Error  # noqa: E402
from sqlmesh import Context  # noqa: E402
from sqlmesh.core.config import (  # noqa: E402
    Config,
    DatabricksConnectionConfig,
    DuckDBConnectionConfig,
    GatewayConfig,
    ModelDefaultsConfig,
)

from tests.databricks.fixture import RehearsalServer  # noqa: E402

pytestmark = pytest.mark.databricks

Connect = Callable[..., Any]


@pytest.fixture
def connect(databricks_server: RehearsalServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connect]:
    """Open connections of the connector to the server; they are closed, and faults cleared, at the end."""
    environment = databricks_server.environment
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    opened = []

    def open_connection(**options: Any) -> Any:
        defaults = {
            "server_hostname": environment["DATABRICKS_HOST"],
            "http_path": environment["DATABRICKS_HTTP_PATH"],
            "access_token": environment["DATABRICKS_TOKEN"],
            "catalog": environment["DATABRICKS_CATALOG"],
            "_retry_delay_max": 5,
        }
        opened.append(sql.connect(**{**defaults, **options}))
        return opened[-1]

    yield open_connection
    databricks_server.clear_faults()
    for connection in opened:
        with suppress(Error):
            connection.close()


def rows(connection: Any, statement: str, parameters: Any = None) -> list[tuple[Any, ...]]:
    """Run a statement and return its rows as plain tuples."""
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return [tuple(row) for row in cursor.fetchall()]


def test_certificate_of_an_unknown_authority_is_refused(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(Exception, match="CERTIFICATE_VERIFY_FAILED"):
        connect(_retry_stop_after_attempts_count=1)


def test_wrong_token_is_refused(connect: Connect) -> None:
    with pytest.raises(Exception, match="Invalid access token"):
        connect(access_token="dapi-wrong")


def test_values_of_every_type_come_back_as_they_were(connect: Connect) -> None:
    with connect().cursor() as cursor:
        cursor.execute("CREATE SCHEMA IF NOT EXISTS types")
        cursor.execute(
            "CREATE OR REPLACE TABLE types.every (id BIGINT, small INT, money DECIMAL(18,2), rate DECIMAL(6,4), "
            "flag BOOLEAN, name STRING, day DATE, at TIMESTAMP_NTZ, moment TIMESTAMP, ratio DOUBLE, raw BINARY)"
        )
        cursor.execute(
            "INSERT INTO types.every VALUES (9007199254740993, -1, 9999999999999999.99, 0.0150, TRUE, "
            "'Zoë 李 🏦 \\'x\\'', DATE'1969-12-31', TIMESTAMP_NTZ'2024-03-31 02:30:00.123456', "
            "TIMESTAMP'2024-03-31 02:30:00.123456Z', 1.5, X'00FF'), "
            "(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)"
        )
        cursor.execute("SELECT * FROM types.every ORDER BY id NULLS LAST")
        table = cursor.fetchall_arrow()
        assert [(column[0], column[1]) for column in cursor.description][:5] == [
            ("id", "bigint"), ("small", "int"), ("money", "decimal"), ("rate", "decimal"), ("flag", "boolean"),
        ]  # fmt: skip
    assert [str(field.type) for field in table.schema] == [
        "int64", "int32", "decimal128(18, 2)", "decimal128(6, 4)", "bool", "string", "date32[day]", "timestamp[us]",
        "timestamp[us, tz=UTC]", "double", "binary",
    ]  # fmt: skip
    first, second = table.to_pylist()
    at = datetime.datetime(2024, 3, 31, 2, 30, 0, 123456)
    assert {**first, "moment": first["moment"].replace(tzinfo=None)} == {
        "id": 9007199254740993,
        "small": -1,
        "money": decimal.Decimal("9999999999999999.99"),
        "rate": decimal.Decimal("0.0150"),
        "flag": True,
        "name": "Zoë 李 🏦 'x'",
        "day": datetime.date(1969, 12, 31),
        "at": at,
        "moment": at,
        "ratio": 1.5,
        "raw": b"\x00\xff",
    }
    assert set(second.values()) == {None}


def test_named_and_positional_parameters_keep_their_types(connect: Connect) -> None:
    values = ["it's", 5, -(2**40), True, None, decimal.Decimal("-12.50"), datetime.date(2024, 2, 29), 0.25]
    connection = connect()
    assert rows(connection, "SELECT ?, ?, ?, ?, ?, ?, ?, ?", values) == [tuple(values)]
    assert rows(connection, "SELECT '?', ? -- ?", ["b"]) == [("?", "b")]
    assert rows(connection, "SELECT :b + 1, typeof(:b), :a", {"a": "x", "b": 2**40}) == [(2**40 + 1, "bigint", "x")]


def test_two_million_rows_come_in_batches_and_in_order(connect: Connect) -> None:
    count, seen, fetches = 2_000_000, 0, 0
    with connect().cursor() as cursor:
        cursor.execute(f"SELECT id, concat('row ', id) AS name FROM range({count}) ORDER BY id DESC")
        while (table := cursor.fetchmany_arrow(150_000)).num_rows:
            ids = table.column("id").to_pylist()
            assert ids == list(range(count - seen - 1, count - seen - 1 - len(ids), -1))
            assert table.column("name")[0].as_py() == f"row {ids[0]}"
            seen, fetches = seen + len(ids), fetches + 1
    assert (seen, fetches) == (count, 14)


@pytest.mark.parametrize(
    ("statement", "sqlstate"),
    [
        ("SELECT 1 / 0", "22012"),
        ("SELECT * FROM nowhere", "42P01"),
        ("SELEC 1", "42601"),
        ("SELECT * FROM information_schema.volumes", "42P01"),
    ],
)
def test_error_carries_message_and_sqlstate(connect: Connect, statement: str, sqlstate: str) -> None:
    with pytest.raises(Error, match=rf"(?s)\[\w+.*SQLSTATE: {sqlstate}"):
        rows(connect(), statement)


def test_error_in_the_last_row_of_many_fails_the_statement(connect: Connect) -> None:
    with connect().cursor() as cursor, pytest.raises(Error, match="DIVIDE_BY_ZERO"):
        cursor.execute("SELECT 1 / (id - 499999) FROM range(500000)")


def test_session_starts_in_its_schema_and_time_zone(connect: Connect) -> None:
    rows(connect(), "CREATE SCHEMA IF NOT EXISTS started")
    here = "SELECT current_catalog(), current_schema(), current_timezone()"
    assert rows(connect(schema="started"), here) == [("spark_catalog", "started", "UTC")]
    options = {"session_configuration": {"timezone": "Asia/Tokyo"}}
    assert rows(connect(**options), here) == [("spark_catalog", "default", "Asia/Tokyo")]
    with pytest.raises(Error, match="SQLSTATE: 42704"):
        connect(schema="missing")
    with pytest.raises(Error, match="missing"):
        connect(catalog="missing")


def test_sessions_of_several_threads_work_at_once(connect: Connect) -> None:
    rows(connect(), "CREATE SCHEMA IF NOT EXISTS threads")

    def work(number: int) -> list[tuple[Any, ...]]:
        connection = connect(schema="threads")
        rows(connection, f"CREATE OR REPLACE TABLE t{number} AS SELECT {number} AS n, id FROM range(1000)")
        return rows(connection, f"SELECT min(n), max(n), count(*) FROM t{number}")

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(4))) == [[(number, number, 1000)] for number in range(4)]


def test_long_statement_is_waited_for_and_can_be_cancelled(connect: Connect) -> None:
    with connect().cursor() as cursor:
        cursor.execute_async("SELECT sum(a.id * b.id % 7) FROM range(3000000) a JOIN range(3000000) b ON a.id < b.id")
        assert cursor.is_query_pending()
        cursor.cancel()
        with pytest.raises(Error, match=r"(?i)cancel"):
            cursor.get_async_execution_result()


def test_volume_files_are_put_read_fetched_listed_and_removed(
    connect: Connect, databricks_server: RehearsalServer, tmp_path: Path
) -> None:
    import pyarrow as pa
    import pyarrow.parquet

    connection = connect(staging_allowed_local_path=str(tmp_path))
    pa.parquet.write_table(pa.table({"key": ["a", "ö"], "n": [1, 2]}), tmp_path / "feed.parquet")
    rows(connection, "CREATE SCHEMA IF NOT EXISTS landing")
    for _ in range(2):
        rows(connection, "/* SQLMESH_RUN: 1 */ CREATE VOLUME IF NOT EXISTS spark_catalog.landing.feed COMMENT 'feeds'")
    with pytest.raises(Error, match="SQLSTATE: 42P07"):
        rows(connection, "CREATE VOLUME landing.feed")
    with pytest.raises(Error, match="SQLSTATE: 42704"):
        rows(connection, "CREATE VOLUME nowhere.feed")
    folder = "/Volumes/spark_catalog/landing/feed/load 1"
    with connection.cursor() as cursor:
        cursor.execute(f"PUT '{tmp_path / 'feed.parquet'}' INTO '{folder}/feed.parquet' OVERWRITE")
        with pytest.raises(Error, match="SQLSTATE: 42K0N"):
            cursor.execute(f"PUT '{tmp_path / 'feed.parquet'}' INTO '{folder}/feed.parquet'")
        cursor.execute(f"GET '{folder}/feed.parquet' TO '{tmp_path / 'back.parquet'}'")
    assert (tmp_path / "back.parquet").read_bytes() == (tmp_path / "feed.parquet").read_bytes()
    read = [f"parquet.`{folder}/feed.parquet`", f"read_files('{folder}/', format => 'parquet')"]
    assert [rows(connection, f"SELECT key, n FROM {source} ORDER BY n") for source in read] == [
        [("a", 1), ("ö", 2)]
    ] * 2
    (listed,) = rows(connection, f"LIST '{folder}'")
    assert listed[:3] == (f"{folder}/feed.parquet", "feed.parquet", (tmp_path / "feed.parquet").stat().st_size)
    with connection.cursor() as cursor:
        cursor.execute(f"REMOVE '{folder}/feed.parquet'")
    assert rows(connection, f"LIST '{folder}'") == []
    with pytest.raises(Error, match="SQLSTATE: 42704"), connection.cursor() as cursor:
        cursor.execute("REMOVE '/Volumes/spark_catalog/landing/other/x'")
    assert {"volume_path", "create_volume"} <= set(databricks_server.rewrites)


def test_information_schema_tells_tables_and_full_data_types(connect: Connect) -> None:
    connection = connect()
    for statement in (
        "CREATE SCHEMA IF NOT EXISTS informed",
        "CREATE OR REPLACE TABLE informed.t (id BIGINT COMMENT 'key', at TIMESTAMP_NTZ, money DECIMAL(18,2))",
        "CREATE OR REPLACE VIEW informed.v AS SELECT id FROM informed.t",
    ):
        rows(connection, statement)
    tables = (
        "SELECT table_name, table_type FROM system.information_schema.tables WHERE table_schema = 'informed' ORDER BY 1"
    )
    assert rows(connection, tables) == [("t", "MANAGED"), ("v", "VIEW")]
    columns = (
        "SELECT columns.column_name, columns.full_data_type FROM `spark_catalog`.`information_schema`.`columns` "
        "WHERE table_schema = 'informed' AND table_name = '{}' ORDER BY ordinal_position"
    )
    assert rows(connection, columns.format("t")) == [
        ("id", "bigint"),
        ("at", "timestamp_ntz"),
        ("money", "decimal(18,2)"),
    ]
    assert rows(connection, columns.format("v")) == [("id", "bigint")]
    with connection.cursor() as cursor:
        assert [row[0] for row in cursor.catalogs().fetchall()] == ["spark_catalog"]
        assert [row[0] for row in cursor.schemas(schema_name="informed").fetchall()] == ["informed"]
        assert [row[2] for row in cursor.tables(schema_name="informed").fetchall()] == ["t", "v"]


def test_only_what_spark_does_not_understand_is_rewritten(connect: Connect, databricks_server: RehearsalServer) -> None:
    connection, before = connect(), len(databricks_server.statements)
    latest = (
        "SELECT k, v FROM VALUES (1, 1), (1, 2) AS t(k, v) QUALIFY RANK() OVER (PARTITION BY k ORDER BY v DESC) = 1"
    )
    text = "SELECT 'QUALIFY information_schema.tables' /* `/Volumes/a/b/c` */ AS a -- QUALIFY"
    assert rows(connection, latest) == [(1, 2)]
    assert rows(connection, "USE CATALOG spark_catalog") == []
    assert rows(connection, text) == [("QUALIFY information_schema.tables",)]
    logged = databricks_server.statements[before:]
    assert [(statement.sql, statement.rewrites) for statement in logged] == [
        (latest, ("qualify",)),
        ("USE CATALOG spark_catalog", ("current_catalog",)),
        (text, ()),
    ]


def test_503_is_answered_as_often_as_asked_and_the_connector_tries_again(
    connect: Connect, databricks_server: RehearsalServer
) -> None:
    connection, before = connect(), len(databricks_server.statements)
    databricks_server.be_unavailable(1)
    assert rows(connection, "SELECT 503") == [(503,)]
    assert [statement.sql for statement in databricks_server.statements[before:]] == ["SELECT 503"]


def test_expired_token_fails_every_request_until_it_is_renewed(
    connect: Connect, databricks_server: RehearsalServer
) -> None:
    connection = connect()
    databricks_server.expire_token()
    with pytest.raises(Error, match="expired"):
        rows(connection, "SELECT 1")
    databricks_server.clear_faults()
    assert rows(connection, "SELECT 1") == [(1,)]


@pytest.mark.parametrize(("executed", "inserted"), [(False, 1), (True, 2)])
def test_connector_repeats_a_statement_whose_connection_was_cut(
    connect: Connect, databricks_server: RehearsalServer, executed: bool, inserted: int
) -> None:
    connection = connect()
    rows(connection, "CREATE SCHEMA IF NOT EXISTS dropped")
    rows(connection, "CREATE OR REPLACE TABLE dropped.t (n INT)")
    databricks_server.drop_connection(r"INSERT INTO dropped\.t", executed=executed)
    rows(connection, "INSERT INTO dropped.t VALUES (1)")
    assert rows(connection, "SELECT count(*) FROM dropped.t") == [(inserted,)]


def test_connection_that_is_cut_again_and_again_is_an_error(
    connect: Connect, databricks_server: RehearsalServer
) -> None:
    connection = connect(_retry_stop_after_attempts_count=2)
    databricks_server.drop_connection("SELECT 'cut'", executed=False, times=100)
    with pytest.raises(Exception, match=r"(?i)connection"):
        rows(connection, "SELECT 'cut'")
    databricks_server.clear_faults()
    assert rows(connection, "SELECT 'cut'") == [("cut",)]


MODELS = {
    "event": """
MODEL (name demo.event, kind INCREMENTAL_BY_TIME_RANGE (time_column at), start '2024-01-01', cron '@daily',
  audits (not_null(columns := (id, at)), unique_values(columns := (id,))), grain id);
SELECT n.id::BIGINT AS id, (n.id % 3)::INT AS customer_id, (n.id * 1.25)::DECIMAL(18,2) AS amount,
  n.at::TIMESTAMP AS at
FROM (SELECT id, (CASE WHEN id <= 5 THEN '2024-01-01 10:00:00' ELSE '2024-01-02 23:59:59.5' END)::TIMESTAMP AS at
  FROM (VALUES (1), (2), (3), (4), (5), (6), (7), (8), (9)) AS v(id)) AS n
WHERE n.at BETWEEN @start_ts AND @end_ts
""",
    "customer": """
MODEL (name demo.customer, kind INCREMENTAL_BY_UNIQUE_KEY (unique_key customer_id), start '2024-01-01', cron '@daily',
  audits (not_null(columns := (customer_id,))));
SELECT customer_id::INT AS customer_id, SUM(amount)::DECIMAL(28,2) AS amount, MAX(at)::TIMESTAMP AS latest_at
FROM demo.event GROUP BY customer_id
""",
    "large": """
MODEL (name demo.large, kind VIEW, start '2024-01-01', description 'Customers of more than 17');
SELECT customer_id::INT AS customer_id, amount::DECIMAL(28,2) AS amount FROM demo.customer WHERE amount > {limit}
""",
}


def test_sqlmesh_plans_runs_and_audits_on_the_server(
    connect: Connect, databricks_server: RehearsalServer, tmp_path: Path
) -> None:
    connection, environment = connect(), databricks_server.environment
    (tmp_path / "models").mkdir()

    def context(limit: int) -> Context:
        for name, model in MODELS.items():
            (tmp_path / "models" / f"{name}.sql").write_text(model.replace("{limit}", str(limit)))
        gateway = GatewayConfig(
            connection=DatabricksConnectionConfig(
                server_hostname=environment["DATABRICKS_HOST"],
                http_path=environment["DATABRICKS_HTTP_PATH"],
                access_token=environment["DATABRICKS_TOKEN"],
                catalog=environment["DATABRICKS_CATALOG"],
                disable_databricks_connect=True,
                disable_spark_session=True,
            ),
            state_connection=DuckDBConnectionConfig(database=str(tmp_path / "state.duckdb")),
        )
        config = Config(gateways={"databricks": gateway}, model_defaults=ModelDefaultsConfig(dialect="duckdb"))
        return Context(paths=[str(tmp_path)], config=config)

    first = context(17)
    first.plan(auto_apply=True, no_prompts=True, execution_time="2024-01-02 00:00:00")
    assert rows(connection, "SELECT count(*), max(at) FROM demo.event") == [(5, datetime.datetime(2024, 1, 1, 10))]
    first.run(execution_time="2024-01-03 00:00:00")
    assert rows(connection, "SELECT * FROM demo.customer ORDER BY 1") == [
        (0, decimal.Decimal("22.50"), datetime.datetime(2024, 1, 2, 23, 59, 59, 500000)),
        (1, decimal.Decimal("15.00"), datetime.datetime(2024, 1, 2, 23, 59, 59, 500000)),
        (2, decimal.Decimal("18.75"), datetime.datetime(2024, 1, 2, 23, 59, 59, 500000)),
    ]
    assert rows(connection, "SELECT customer_id FROM demo.large ORDER BY 1") == [(0,), (2,)]
    first.close()
    second = context(20)
    second.plan("dev", auto_apply=True, no_prompts=True, execution_time="2024-01-03 00:00:00", include_unmodified=True)
    assert rows(connection, "SELECT customer_id FROM demo__dev.large") == [(0,)]
    assert rows(connection, "SELECT count(*) FROM demo__dev.event") == [(9,)]
    assert rows(connection, "SELECT count(*) FROM demo.large") == [(2,)]
    second.close()
    statements = [statement.sql for statement in databricks_server.statements]
    for sent in ("REPLACE WHERE", "MERGE INTO", "CREATE OR REPLACE VIEW", "SELECT COUNT(*) FROM (SELECT"):
        assert any(sent in statement for statement in statements), sent
    assert {"information_schema", "current_catalog"} <= set(databricks_server.rewrites)


def test_no_rewrite_is_applied_that_is_not_allowed(databricks_server: RehearsalServer) -> None:
    allowed = {"create_volume", "current_catalog", "information_schema", "qualify", "volume_path"}
    assert set(databricks_server.rewrites) <= allowed
