"""Exports: what the files hold, that equal data gives equal bytes, and what a kill or a full disk leaves behind."""

from __future__ import annotations

import csv
import errno
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from scripts import files
from scripts.errors import PipelineError
from scripts.outputs import export
from scripts.outputs.export import MANIFEST_NAME, Reflects, check_outputs, export_marts
from scripts.outputs.marts import Mart
from scripts.warehouse.duckdb import DuckDBWarehouse
from tests.marts import MART_FILES, MARTS, OUTPUTS

PROJECT = Path(__file__).resolve().parents[2]
LOAD_1 = datetime.fromisoformat("2024-01-15 02:00:00")
LOAD_2 = datetime.fromisoformat("2024-01-16 02:00:00.000001")
LOAD_3 = datetime.fromisoformat("2024-01-17 02:00:00")
REFLECTS = Reflects(LOAD_1, "dev")
RENAMES = len(OUTPUTS)

TABLES = """
    CREATE SCHEMA landing;
    CREATE SCHEMA marts;
    CREATE TABLE landing.load (loaded_at TIMESTAMP, new_count BIGINT, changed_count BIGINT, gone_count BIGINT);
    CREATE TABLE marts.account_summary (
      account_id VARCHAR, customer_id BIGINT, original_balance_amount DECIMAL(18,2), interest_rate_pct DECIMAL(6,4),
      annual_interest_amount DECIMAL(18,2), new_balance_amount DECIMAL(19,2), calculated_at TIMESTAMP
    );
    CREATE TABLE marts.customer_profile (
      customer_id BIGINT, customer_name VARCHAR, has_loan_flag BOOLEAN, total_accounts_count BIGINT,
      total_balance_amount DECIMAL(28,2), total_annual_interest_amount DECIMAL(28,2), calculated_at TIMESTAMP
    );
"""
ROWS = """
    INSERT INTO landing.load VALUES ('2024-01-15 02:00:00', 4, 0, 0);
    INSERT INTO marts.account_summary VALUES
      ('A2', 10, 20000, 0.02, 400, 20400, '2024-01-15 02:00:00'),
      ('A10', 9, 0, 0.01, 0, 0, '2024-01-15 02:00:00.000001'),
      ('Ä1', 9, 9999999999999999.99, 0.0250, 250000000000000.00, 10249999999999999.99, '2024-01-15 02:00:00.5');
    INSERT INTO marts.customer_profile VALUES
      (10, 'Žoë "Zed" Smith, Jr.', true, 1, 20000, 400, '2024-01-15 02:00:00'),
      (9, 'O''Hara', false, 2, 19999999999999999.98, 250000000000000, '2024-01-15 02:00:00.5');
"""
MANY_ROWS = """
    INSERT INTO landing.load VALUES ('2024-01-15 02:00:00', 1, 0, 0);
    INSERT INTO marts.account_summary
    SELECT
      'A' || CAST((i * 7919) % 300007 AS VARCHAR), i % 1000, i, 0.01, 1, i + 1,
      TIMESTAMP '2024-01-15 02:00:00' + INTERVAL (i % 77) SECOND
    FROM range(300007) AS number(i);
    INSERT INTO marts.customer_profile
    SELECT i, 'Name ' || i, i % 2 = 0, 1, i, 1, TIMESTAMP '2024-01-15 02:00:00' FROM range(1000) AS number(i);
"""


def warehouse_with(rows: str, threads: int = 2) -> DuckDBWarehouse:
    connection = duckdb.connect()
    connection.execute(f"SET threads = {threads}")
    connection.execute(TABLES)
    connection.execute(rows)
    return DuckDBWarehouse(connection)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def manifest(folder: Path) -> Any:
    return json.loads((folder / MANIFEST_NAME).read_bytes())


class StreamedWarehouse(DuckDBWarehouse):
    """Hands rows over in Arrow batches of uneven sizes, as a remote engine does; may fail, or end early, on the way."""

    def __init__(self, inner: DuckDBWarehouse, fail_after: int | None = None, end_after: int | None = None) -> None:
        super().__init__(inner._connection)
        self._fail_after, self._end_after = fail_after, end_after

    def relation(self, sql: str) -> duckdb.DuckDBPyRelation:
        table = self._connection.execute(sql).to_arrow_table()

        def batches() -> Iterator[pa.RecordBatch]:
            start = 0
            for size in (1, 0, 4999, 130001, 70000, table.num_rows):
                if self._end_after is not None and start > self._end_after:
                    return
                if self._fail_after is not None and start > self._fail_after:
                    raise ConnectionError("the server hung up")
                yield from table.slice(start, size).combine_chunks().to_batches()
                start += size

        self._reader = pa.RecordBatchReader.from_batches(table.schema, batches())
        self._local = duckdb.connect()
        return self._local.from_arrow(self._reader)


def test_csv_is_the_mart_in_key_order_to_the_byte(tmp_path: Path) -> None:
    export_marts(warehouse_with(ROWS), MARTS, tmp_path, REFLECTS)

    assert (tmp_path / "account_summary.csv").read_text(encoding="utf-8") == (
        "account_id,customer_id,original_balance_amount,interest_rate_pct,annual_interest_amount,new_balance_amount,"
        "calculated_at\n"
        "A10,9,0.00,0.0100,0.00,0.00,2024-01-15 02:00:00.000001\n"
        "A2,10,20000.00,0.0200,400.00,20400.00,2024-01-15 02:00:00.000000\n"
        "Ä1,9,9999999999999999.99,0.0250,250000000000000.00,10249999999999999.99,2024-01-15 02:00:00.500000\n"
    )
    assert (tmp_path / "customer_profile.csv").read_text(encoding="utf-8") == (
        "customer_id,customer_name,has_loan_flag,total_accounts_count,total_balance_amount,"
        "total_annual_interest_amount,calculated_at\n"
        "9,O'Hara,false,2,19999999999999999.98,250000000000000.00,2024-01-15 02:00:00.500000\n"
        '10,"Žoë ""Zed"" Smith, Jr.",true,1,20000.00,400.00,2024-01-15 02:00:00.000000\n'
    )


def test_parquet_holds_the_same_rows_in_the_declared_types(tmp_path: Path) -> None:
    export_marts(warehouse_with(ROWS), MARTS, tmp_path, REFLECTS)

    relation = duckdb.connect().read_parquet(str(tmp_path / "account_summary.parquet"))
    assert [str(type_) for type_ in relation.types] == [
        "VARCHAR", "BIGINT", "DECIMAL(18,2)", "DECIMAL(6,4)", "DECIMAL(18,2)", "DECIMAL(19,2)", "TIMESTAMP",
    ]  # fmt: skip
    assert relation.fetchall()[1] == (
        "A2", 10, Decimal("20000.00"), Decimal("0.0200"), Decimal("400.00"), Decimal("20400.00"), LOAD_1,
    )  # fmt: skip
    compression = duckdb.sql(
        f"SELECT DISTINCT compression FROM parquet_metadata('{tmp_path / 'customer_profile.parquet'}')"
    )
    assert compression.fetchall() == [("ZSTD",)]


def test_manifest_describes_exactly_the_files_beside_it(tmp_path: Path) -> None:
    exported = export_marts(warehouse_with(ROWS), MARTS, tmp_path, REFLECTS)

    described = manifest(tmp_path)
    assert described["schema_version"] == 2
    assert described["environment"] == "dev"
    assert described["reflects"]["loaded_at"] == "2024-01-15T02:00:00.000000Z"
    assert [entry["name"] for entry in described["files"]] == list(MART_FILES)
    for entry, file in zip(described["files"], exported, strict=True):
        content = (tmp_path / entry["name"]).read_bytes()
        assert (entry["bytes"], entry["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
        assert (file.path, file.row_count, file.byte_count, file.sha256, file.written) == (
            str(tmp_path / entry["name"]), entry["rows"], entry["bytes"], entry["sha256"], True,
        )  # fmt: skip
    assert [entry["rows"] for entry in described["files"]] == [3, 3, 2, 2]
    assert described["files"][0]["columns"][2] == {"name": "original_balance_amount", "type": "DECIMAL(18,2)"}
    assert sorted(contents(tmp_path)) == sorted(OUTPUTS)
    assert check_outputs(tmp_path) == []


def test_equal_data_gives_equal_bytes_whatever_the_engine_threads_and_batches(tmp_path: Path) -> None:
    one, two = warehouse_with(MANY_ROWS, threads=1), warehouse_with(MANY_ROWS, threads=2)
    folders = [tmp_path / name for name in ("one", "two", "streamed")]
    for warehouse, folder in zip((one, two, StreamedWarehouse(two)), folders, strict=True):
        export_marts(warehouse, MARTS, folder, REFLECTS)

    expected = contents(folders[0])
    assert contents(folders[1]) == expected
    assert contents(folders[2]) == expected
    path = folders[0] / "account_summary.parquet"
    groups = duckdb.sql(f"SELECT DISTINCT row_group_id, row_group_num_rows FROM parquet_metadata('{path}') ORDER BY 1")
    assert groups.fetchall() == [(0, 122880), (1, 122880), (2, 54247)]
    with (folders[0] / "account_summary.csv").open(encoding="utf-8", newline="") as file:
        keys = [row[0] for row in csv.reader(file)][1:]
    assert len(keys) == 300007
    assert keys == sorted(keys)


def test_second_export_touches_nothing(tmp_path: Path) -> None:
    warehouse = warehouse_with(ROWS)
    export_marts(warehouse, MARTS, tmp_path, REFLECTS)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ino) for path in tmp_path.iterdir()}

    exported = export_marts(warehouse, MARTS, tmp_path, REFLECTS)

    assert [file.written for file in exported] == [False] * 4
    after = {path: (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ino) for path in tmp_path.iterdir()}
    assert after == before


def test_marts_whose_rows_their_files_hold_are_not_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse = warehouse_with(ROWS)
    first = export_marts(warehouse, MARTS, tmp_path, REFLECTS)
    warehouse.execute("UPDATE marts.customer_profile SET customer_name = 'O''Hare' WHERE customer_id = 9")
    written: list[str] = []
    write_csv = export._write_csv

    def write(mart: Mart, *paths: Path) -> None:
        written.append(mart.name)
        write_csv(mart, *paths)

    monkeypatch.setattr(export, "_write_csv", write)
    second = export_marts(warehouse, MARTS, tmp_path, REFLECTS)
    assert written == ["customer_profile"]
    assert [file.written for file in second] == [False, False, True, True]
    assert second[:2] == [replace(file, written=False) for file in first[:2]]
    assert check_outputs(tmp_path) == []


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE marts.customer_profile SET has_loan_flag = NOT has_loan_flag WHERE customer_id = 9",
        "UPDATE marts.customer_profile SET customer_name = NULL WHERE customer_id = 9",
        "UPDATE marts.customer_profile SET customer_id = 19 - customer_id",
        "UPDATE marts.account_summary SET original_balance_amount = 20000.01 WHERE account_id = 'A2'",
        "DELETE FROM marts.account_summary WHERE account_id = 'A10'",
        "INSERT INTO marts.account_summary FROM marts.account_summary WHERE account_id = 'A10'",
    ],
)
def test_any_other_row_is_written(tmp_path: Path, change: str) -> None:
    warehouse = warehouse_with(ROWS)
    export_marts(warehouse, MARTS, tmp_path / "changed", REFLECTS)
    warehouse.execute(change)
    for folder in ("changed", "anew"):
        export_marts(warehouse, MARTS, tmp_path / folder, REFLECTS)
    assert contents(tmp_path / "changed") == contents(tmp_path / "anew")


def test_a_file_that_somebody_changed_is_written_again(tmp_path: Path) -> None:
    warehouse = warehouse_with(ROWS)
    export_marts(warehouse, MARTS, tmp_path, REFLECTS)
    before = contents(tmp_path)
    spoilt = tmp_path / "account_summary.csv"
    spoilt.write_bytes(spoilt.read_bytes().replace(b"20000.00", b"90000.00"))
    export_marts(warehouse, MARTS, tmp_path, REFLECTS)
    assert contents(tmp_path) == before


def test_load_that_changes_no_mart_row_changes_no_byte(tmp_path: Path) -> None:
    warehouse = warehouse_with(ROWS)
    export_marts(warehouse, MARTS, tmp_path, REFLECTS)
    before = contents(tmp_path)

    warehouse.execute("INSERT INTO landing.load VALUES ('2024-01-16 02:00:00.000001', 0, 0, 0)")
    export_marts(warehouse, MARTS, tmp_path, Reflects(LOAD_2, "dev"))
    assert contents(tmp_path) == before

    warehouse.execute("INSERT INTO landing.load VALUES ('2024-01-17 02:00:00', 0, 1, 0)")
    export_marts(warehouse, MARTS, tmp_path, Reflects(LOAD_3, "dev"))
    assert contents(tmp_path) == before


def test_manifest_names_the_last_load_that_changed_something(tmp_path: Path) -> None:
    warehouse = warehouse_with(ROWS)
    export_marts(warehouse, MARTS, tmp_path, REFLECTS)
    warehouse.execute("INSERT INTO landing.load VALUES ('2024-01-16 02:00:00.000001', 0, 0, 1)")
    warehouse.execute("INSERT INTO landing.load VALUES ('2024-01-17 02:00:00', 0, 0, 0)")
    warehouse.execute("DELETE FROM marts.account_summary WHERE account_id = 'A10'")

    exported = export_marts(warehouse, MARTS, tmp_path, Reflects(LOAD_3, "dev"))

    assert manifest(tmp_path)["reflects"]["loaded_at"] == "2024-01-16T02:00:00.000001Z"
    assert [file.written for file in exported] == [True, True, False, False]
    assert check_outputs(tmp_path) == []


def test_manifest_does_not_name_a_load_that_is_yet_to_come(tmp_path: Path) -> None:
    warehouse = warehouse_with(ROWS)
    warehouse.execute("INSERT INTO landing.load VALUES ('2024-01-17 02:00:00', 1, 0, 0)")

    export_marts(warehouse, MARTS, tmp_path, Reflects(LOAD_2, "dev"))
    assert manifest(tmp_path)["reflects"]["loaded_at"] == "2024-01-15T02:00:00.000000Z"

    # A database rebuilt from earlier loads: the same rows, and a manifest of a time that it has not reached.
    export_marts(warehouse, MARTS, tmp_path, Reflects(LOAD_3, "dev"))
    warehouse.execute("DELETE FROM marts.account_summary WHERE account_id = 'A10'")
    export_marts(warehouse, MARTS, tmp_path, Reflects(LOAD_3, "dev"))
    assert manifest(tmp_path)["reflects"]["loaded_at"] == "2024-01-17T02:00:00.000000Z"
    export_marts(warehouse, MARTS, tmp_path, Reflects(LOAD_2, "dev"))
    assert manifest(tmp_path)["reflects"]["loaded_at"] == "2024-01-15T02:00:00.000000Z"


def test_empty_marts_export_as_headers(tmp_path: Path) -> None:
    exported = export_marts(warehouse_with(""), MARTS, tmp_path, Reflects(None, "dev"))

    assert [file.row_count for file in exported] == [0] * 4
    assert (tmp_path / "customer_profile.csv").read_text(encoding="utf-8").count("\n") == 1
    assert duckdb.connect().read_parquet(str(tmp_path / "account_summary.parquet")).fetchall() == []
    assert manifest(tmp_path)["reflects"]["loaded_at"] is None


def test_csv_survives_text_that_needs_quotes(tmp_path: Path) -> None:
    names = ["a,b", 'say "x"', "line\nbreak", "carriage\rreturn", "", " padded ", "#note", "NULL", "=1+1", "\ufeffbom"]
    warehouse = warehouse_with("")
    for number, name in enumerate(names):
        quoted = name.replace("'", "''")
        warehouse.execute(
            f"INSERT INTO marts.customer_profile VALUES ({number}, '{quoted}', true, 1, 1, 1, '2024-01-15 02:00:00')"
        )
    export_marts(warehouse, MARTS, tmp_path, REFLECTS)

    with (tmp_path / "customer_profile.csv").open(encoding="utf-8", newline="") as file:
        assert [row[1] for row in csv.reader(file, strict=True)][1:] == names


def test_folder_may_have_an_awkward_name(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "it's [1] *?{a}"
    export_marts(warehouse_with(ROWS), MARTS, folder, REFLECTS)
    assert check_outputs(folder) == []


KILLED_EXPORT = """
import os, sys
from datetime import datetime
from pathlib import Path
import duckdb
from scripts.outputs import export
from scripts import files
from scripts.warehouse.duckdb import DuckDBWarehouse
from tests.marts import MARTS

database, folder, moment = sys.argv[1], sys.argv[2], sys.argv[3]
if moment == "csv":
    def write_csv(mart, parquet, path):
        path.write_text("half a li")
        os._exit(9)
    export._write_csv = write_csv
else:
    calls, replace = 0, os.replace
    def counted(*arguments):
        global calls
        calls += 1
        if calls == int(moment):
            os._exit(9)
        replace(*arguments)
    os.replace = counted
warehouse = DuckDBWarehouse(duckdb.connect(database))
reflects = export.Reflects(datetime.fromisoformat("2024-01-16 02:00:00.000001"), "dev")
export.export_marts(warehouse, MARTS, folder, reflects)
"""


@pytest.mark.parametrize("moment", ["csv", *map(str, range(1, RENAMES + 1))])
def test_export_killed_at_any_moment_is_whole_after_the_next(tmp_path: Path, moment: str) -> None:
    folder, clean = tmp_path / "outputs", tmp_path / "clean"
    database = tmp_path / "tables.duckdb"
    connection = duckdb.connect(str(database))
    connection.execute(TABLES + ROWS)
    export_marts(DuckDBWarehouse(connection), MARTS, folder, REFLECTS)
    old = contents(folder)
    connection.execute("INSERT INTO landing.load VALUES ('2024-01-16 02:00:00.000001', 0, 2, 0)")
    connection.execute("UPDATE marts.account_summary SET customer_id = 11 WHERE account_id = 'A2'")
    connection.execute("UPDATE marts.customer_profile SET customer_id = 11 WHERE customer_id = 10")
    export_marts(DuckDBWarehouse(connection), MARTS, clean, Reflects(LOAD_2, "dev"))
    new = contents(clean)
    connection.close()

    killed = subprocess.run(
        [sys.executable, "-c", KILLED_EXPORT, str(database), str(folder), moment], cwd=PROJECT, check=False
    )

    assert killed.returncode == 9
    renamed = 0 if moment == "csv" else int(moment) - 1
    left = contents(folder)
    assert any(".tmp-" in name for name in left)
    for place, name in enumerate(OUTPUTS):
        assert left[name] == (new if place < renamed else old)[name]
    assert len(check_outputs(folder)) == renamed

    with duckdb.connect(str(database)) as again:
        export_marts(DuckDBWarehouse(again), MARTS, folder, Reflects(LOAD_2, "dev"))
    assert contents(folder) == new


@pytest.mark.parametrize("failing", range(1, RENAMES + 1))
def test_failed_rename_is_a_sentence_and_leaves_no_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    warehouse, replace, calls = warehouse_with(ROWS), os.replace, 0

    def replace_until(*arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == failing:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(*arguments)

    monkeypatch.setattr(os, "replace", replace_until)
    with pytest.raises(PipelineError, match="Free space, or set OUTPUT_PATH"):
        export_marts(warehouse, MARTS, tmp_path, REFLECTS)
    assert sorted(contents(tmp_path)) == sorted(MART_FILES[: failing - 1])
    assert check_outputs(tmp_path) == [f"{tmp_path / MANIFEST_NAME} does not exist: run the export."]

    monkeypatch.undo()
    export_marts(warehouse, MARTS, tmp_path, REFLECTS)
    assert check_outputs(tmp_path) == []


FULL_DISK = """
import resource, sys
from datetime import datetime
import duckdb
from scripts.errors import PipelineError
from scripts.outputs.export import Reflects, export_marts
from scripts.warehouse.duckdb import DuckDBWarehouse
from tests.marts import MARTS

warehouse = DuckDBWarehouse(duckdb.connect(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
try:
    export_marts(warehouse, MARTS, sys.argv[2], Reflects(datetime.fromisoformat("2024-01-15 02:00:00"), "dev"))
except PipelineError as error:
    sys.exit(str(error))
"""


def test_disk_that_fills_up_while_writing_is_a_sentence_and_changes_nothing(tmp_path: Path) -> None:
    folder, database = tmp_path / "outputs", tmp_path / "tables.duckdb"
    export_marts(warehouse_with(ROWS), MARTS, folder, REFLECTS)
    before = contents(folder)
    with duckdb.connect(str(database)) as connection:
        connection.execute(TABLES + MANY_ROWS)

    run = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(database), str(folder)],
        cwd=PROJECT, check=False, capture_output=True, text=True,
    )  # fmt: skip

    assert run.returncode == 1
    assert "there is no room for the files. Free space, or set OUTPUT_PATH" in run.stderr
    assert "Traceback" not in run.stderr
    assert contents(folder) == before


def test_file_in_place_of_the_folder_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "outputs").write_text("I am a file")
    with pytest.raises(PipelineError, match="stands in the way"):
        export_marts(warehouse_with(ROWS), MARTS, tmp_path / "outputs", REFLECTS)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="no folder is read-only to the superuser")
def test_read_only_folder_is_a_sentence(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(PipelineError, match="Give this user write permission"):
            export_marts(warehouse_with(ROWS), MARTS, tmp_path, REFLECTS)
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
def test_refused_write_names_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(PipelineError, match="Give this user write permission there, or set OUTPUT_PATH"):
        export_marts(warehouse_with(ROWS), MARTS, tmp_path, REFLECTS)


@pytest.mark.parametrize("fault", [{"fail_after": 100_000}, {"end_after": 100_000}])
def test_rows_that_stop_coming_change_no_file(tmp_path: Path, fault: dict[str, int]) -> None:
    export_marts(warehouse_with(ROWS), MARTS, tmp_path, REFLECTS)
    before = contents(tmp_path)

    with pytest.raises(PipelineError) as caught:
        export_marts(StreamedWarehouse(warehouse_with(MANY_ROWS), **fault), MARTS, tmp_path, REFLECTS)

    expected = "the server hung up" if "fail_after" in fault else "has 300007 rows, of which 135001 arrived"
    assert expected in str(caught.value)
    assert contents(tmp_path) == before


def test_missing_mart_is_a_sentence(tmp_path: Path) -> None:
    warehouse = warehouse_with(ROWS)
    warehouse.execute("DROP TABLE marts.customer_profile")
    with pytest.raises(PipelineError, match="customer_profile does not exist"):
        export_marts(warehouse, MARTS, tmp_path, REFLECTS)
    assert contents(tmp_path) == {}


def test_check_finds_what_was_changed_removed_or_spoilt(tmp_path: Path) -> None:
    export_marts(warehouse_with(ROWS), MARTS, tmp_path, REFLECTS)
    changed = tmp_path / "account_summary.csv"
    changed.write_bytes(changed.read_bytes().replace(b"400.00", b"400.01"))
    (tmp_path / "customer_profile.parquet").unlink()

    first, second = check_outputs(tmp_path)
    assert "account_summary.csv is not the file that the manifest describes" in first
    assert "customer_profile.parquet is named by the manifest and does not exist" in second

    (tmp_path / MANIFEST_NAME).write_text("{")
    assert "can't be read" in check_outputs(tmp_path)[0]


def test_atomic_write_keeps_the_old_file_when_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    files.write_atomically(path, b"old")

    def refuse(_: int) -> None:
        raise OSError(errno.EIO, "no")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="no"):
        files.write_atomically(path, b"new")
    assert contents(tmp_path) == {"file": b"old"}
