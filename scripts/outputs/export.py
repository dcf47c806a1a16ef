"""Writes the marts to files, each as Parquet and CSV, and the manifest last.

Equal data gives equal bytes, whichever engine holds the marts: rows come ordered by key, in row groups of a fixed
size, cast to the declared types, and a DuckDB connection of the export's own writes them with one thread.
The CSV is made from the finished Parquet file, so the two cannot differ.

A file is written under a temporary name beside its target, flushed to disk and renamed. All temporary files are
complete before the first rename, and the manifest is renamed last. A run killed between two renames leaves files whose
sha256 is not the manifest's (`check_outputs` finds them); the next export completes the set.

Files that stand as they were left, and hold the mart's rows, are not made again: size, time and rows tell.
"""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import duckdb
import pyarrow as pa

from scripts.errors import PipelineError, first_line
from scripts.files import sha256_of, sync_folder, write_atomically
from scripts.outputs.marts import Mart
from scripts.reconcile.agreement import NOTHING, Sums, Tier, sums_by_tier, sums_of_mart, sums_query, tiers_of
from scripts.results import ExportedFile
from scripts.sql import path_literal, text_literal, timestamp_literal
from scripts.warehouse import Warehouse

MANIFEST_NAME = "manifest.json"
MANIFEST_SCHEMA_VERSION = 2
ROW_GROUP_ROWS = 122_880
# What the manifest says of one file, or of one rate.
Entry = dict[str, Any]
# The mart that the manifest's sums by rate are of.
_SUMMED = "account_summary"
_DECIMAL = re.compile(r"DECIMAL\((\d+),(\d+)\)")
_DIGITS_OF_64_BITS = 18


@dataclass(frozen=True)
class Reflects:
    """What an export stands for: the newest load that was brought through to the marts (UTC without zone), if there is
    one; the environment's label, as in reports; the exact versions of the models that made the marts, by name; and the
    rates that they were made with."""

    loaded_at: datetime | None
    environment: str
    models: Mapping[str, str] = field(default_factory=dict)
    tiers: Sequence[Tier] = ()


def export_marts(
    warehouse: Warehouse, marts: Sequence[Mart], output_path: str | Path, reflects: Reflects
) -> list[ExportedFile]:
    """Brings the files under `output_path` to the marts' present rows and returns them, manifest not counted.

    A file that already holds exactly these rows is left alone, and so is the manifest when it describes these files:
    it then keeps naming the load since which they stand. Otherwise it names the newest load, not later than
    `reflects.loaded_at`, that changed anything: a re-sent feed is no news.

    Raises:
        PipelineError: The folder can't be written, the disk is full, or a mart could not be read in full.
    """
    folder = Path(output_path).absolute()
    token = uuid4().hex
    with _sentences(folder):
        folder.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(folder, marts)
        try:
            standing = {mart.name: _standing(warehouse, mart, folder) for mart in marts}
            # The next mart is read while the files of the one before are finished.
            with ThreadPoolExecutor(1) as finisher:
                finishing = {
                    mart.name: finisher.submit(
                        _finish_drafts, mart, folder, token, _draft_parquet(warehouse, mart, folder, token)
                    )
                    for mart in marts
                    if not standing[mart.name]
                }
                entries = [e for mart in marts for e in standing[mart.name] or finishing[mart.name].result()]
            summary = f"{_SUMMED}.parquet"
            in_file = folder / summary if standing.get(_SUMMED) else _draft_path(folder, summary, token)
            tiers = _described_tiers(warehouse, in_file, reflects.tiers)
            loaded_at = _last_change(warehouse, reflects.loaded_at)
            exported = [_publish(folder, entry, token) for entry in entries]
            sync_folder(folder)
            _publish_manifest(folder, entries, replace(reflects, loaded_at=loaded_at), tiers)
        finally:
            with suppress(OSError):
                _remove_leftovers(folder, marts)
    return exported


def check_outputs(output_path: str | Path) -> list[str]:
    """Compares the files under `output_path` with their manifest; returns a sentence for each that does not match."""
    folder = Path(output_path)
    manifest = folder / MANIFEST_NAME
    try:
        entries = _manifest(folder)["files"]
    except FileNotFoundError:
        return [f"{manifest} does not exist: run the export."]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return [f"{manifest} can't be read ({error}): run the export again."]
    problems = []
    for entry in entries:
        path = folder / entry["name"]
        if not path.is_file():
            problems.append(f"{path} is named by the manifest and does not exist: run the export again.")
        elif not _is_there(folder, entry):
            problems.append(f"{path} is not the file that the manifest describes: run the export again.")
    return problems


def outdated(warehouse: Warehouse, output_path: str | Path, models: Mapping[str, str]) -> list[str]:
    """Compares what the manifest under `output_path` stands for with the marts, and with the exact versions of prod's
    models, by name; returns the first difference as a sentence, if there is one."""
    try:
        reflects = _manifest(Path(output_path))["reflects"]
        described, made_by = reflects["tiers"], reflects["models"]
    except (OSError, ValueError, KeyError, TypeError):
        return []  # a matter for check_outputs, or written before manifests said so
    tiers = tiers_of(warehouse)
    if tiers != [Tier(*(Decimal(tier[column]) for column in Tier.__annotations__)) for tier in described]:
        return ["The files were made with other interest rates than prod has now."]
    in_files = {
        place: Sums(tier["accounts"], Decimal(tier["balance_amount"]), Decimal(tier["annual_interest_amount"]))
        for place, tier in enumerate(described)
        if tier["accounts"]
    }
    if sums_of_mart(warehouse, tiers) != in_files:
        return ["The files hold other accounts, balances or interest than the marts."]
    changed = sorted(name for name in {*made_by, *models} if made_by.get(name) != models.get(name))
    return [f"The files were made by other versions of {', '.join(changed)}."] if changed else []


def _manifest(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(Path(folder, MANIFEST_NAME).read_text(encoding="utf-8"))
    return content


def _standing(warehouse: Warehouse, mart: Mart, folder: Path) -> list[Entry]:
    """What the manifest says of a mart's files, where they are as it found them and hold the mart's rows; else nothing.

    Whether somebody put other bytes of the same size there, and an older time, is for `check_outputs` to find out.
    """
    columns = [{"name": column, "type": type_} for column, type_ in mart.columns]
    try:
        described_at = Path(folder, MANIFEST_NAME).stat().st_mtime_ns
        files = {entry["name"]: entry for entry in _manifest(folder)["files"]}
        entries = [files[name] for name in _file_names(mart)]
        found = [Path(folder, name).stat() for name in _file_names(mart)]
        are_as_left = all(
            (file.st_size, mart.key, columns) == (entry["bytes"], entry["sorted_by"], entry["columns"])
            and file.st_mtime_ns <= described_at
            for file, entry in zip(found, entries, strict=True)
        )
        return entries if are_as_left and _has_rows_of(warehouse, mart, folder) else []
    except (OSError, ValueError, KeyError, TypeError, duckdb.Error):
        return []


def _has_rows_of(warehouse: Warehouse, mart: Mart, folder: Path) -> bool:
    """Whether a mart's Parquet file has its rows: as many, as late ones, and of all the same sum of 64-bit hashes."""
    path = Path(folder, f"{mart.name}.parquet")
    names = ", ".join(name for name, _ in mart.columns)
    figures = ", ".join(["COUNT(*)", *(f"MAX({name})" for name, type_ in mart.columns if type_ == "TIMESTAMP")])
    hashes = f"sum(hash({', '.join(f'CAST({name} AS {type_})' for name, type_ in mart.columns)}))"
    with duckdb.connect(":memory:") as local:
        in_file = local.sql(f"FROM read_parquet({path_literal(path)})")
        if in_file.aggregate(figures).fetchall() != warehouse.fetch(f"SELECT {figures} FROM {mart.table}"):
            return False
        in_mart = warehouse.relation(f"SELECT {names} FROM {mart.table}")
        return in_file.aggregate(hashes).fetchall() == in_mart.aggregate(hashes).fetchall()


def _draft_parquet(warehouse: Warehouse, mart: Mart, folder: Path, token: str) -> int:
    """Writes a mart to a Parquet file under its temporary name; returns the rows."""
    columns = ", ".join(name for name, _ in mart.columns)
    rows = warehouse.relation(f"SELECT {columns} FROM {mart.table} ORDER BY {mart.key}")
    row_count = _write_parquet(rows, mart, _draft_path(folder, f"{mart.name}.parquet", token))
    expected = int(warehouse.fetch(f"SELECT COUNT(*) FROM {mart.table}")[0][0])
    if row_count != expected:
        raise PipelineError(
            f"{mart.table} has {expected} rows, of which {row_count} arrived at the export: nothing was exported. "
            "Run the export again; if it happens again, look at the connection to the warehouse."
        )
    return row_count


def _finish_drafts(mart: Mart, folder: Path, token: str, row_count: int) -> list[Entry]:
    """Makes the CSV of a mart's Parquet draft, and both safe on the disk; returns what the manifest says of them."""
    drafts = {name: _draft_path(folder, name, token) for name in _file_names(mart)}
    _write_csv(mart, *drafts.values())
    for path in drafts.values():
        with path.open("r+b") as file:
            os.fsync(file.fileno())
    return [
        {
            "name": name,
            "mart": mart.table,
            "sorted_by": mart.key,
            "rows": row_count,
            "bytes": path.stat().st_size,
            "sha256": sha256_of(path),
            "columns": [{"name": column, "type": type_} for column, type_ in mart.columns],
        }
        for name, path in drafts.items()
    ]


def _file_names(mart: Mart) -> tuple[str, str]:
    """The files of a mart, in the order in which they are renamed into place."""
    return f"{mart.name}.parquet", f"{mart.name}.csv"


def _draft_path(folder: Path, name: str, token: str) -> Path:
    return folder / f".{name}.tmp-{token}"


def _write_parquet(relation: duckdb.DuckDBPyRelation, mart: Mart, path: Path) -> int:
    """Streams the relation into a Parquet file; returns the rows written."""
    source = relation.to_arrow_reader(ROW_GROUP_ROWS)
    failures: list[Exception] = []
    batches = pa.RecordBatchReader.from_batches(source.schema, _row_groups(source, failures))
    casts = ", ".join(f'CAST("{name}" AS {type_}) AS "{name}"' for name, type_ in mart.columns)
    with duckdb.connect(":memory:") as local:
        local.execute("SET threads = 1; SET preserve_insertion_order = true; SET TimeZone = 'UTC'")
        local.register("mart_row", batches)
        try:
            result = local.execute(
                f"COPY (SELECT {casts} FROM mart_row) TO {text_literal(path)} "
                f"(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP_ROWS}, USE_TMP_FILE false)"
            ).fetchone()
        except duckdb.Error:
            if failures:
                raise PipelineError(
                    f"{mart.table} could not be read to its end ({first_line(failures[0])}): nothing was "
                    "exported. Run the export again."
                ) from failures[0]
            raise
    return int(result[0]) if result else 0


def _row_groups(source: pa.RecordBatchReader, failures: list[Exception]) -> Iterator[pa.RecordBatch]:
    """Cuts a stream into batches of exactly `ROW_GROUP_ROWS` rows, the last one excepted.

    DuckDB closes a row group with the batch that fills it, so without this the file's bytes would depend on the sizes
    in which the engine happened to send its rows. A failure of the source is kept in `failures`: DuckDB passes on only
    its text.
    """
    pending = source.schema.empty_table()
    try:
        for batch in source:
            pending = pa.concat_tables([pending, pa.Table.from_batches([batch])])
            while pending.num_rows >= ROW_GROUP_ROWS:
                yield pa.concat_batches(pending.slice(length=ROW_GROUP_ROWS).to_batches())
                pending = pending.slice(ROW_GROUP_ROWS)
        if pending.num_rows:
            yield pa.concat_batches(pending.to_batches())
    except Exception as error:
        failures.append(error)
        raise


def _write_csv(mart: Mart, parquet: Path, path: Path) -> None:
    columns = ", ".join(f'{_csv_text(name, type_)} AS "{name}"' for name, type_ in mart.columns)
    with duckdb.connect(":memory:") as local:
        # Text in the order of the rows is the same however many threads make it, unlike Parquet.
        local.execute("SET preserve_insertion_order = true; SET TimeZone = 'UTC'")
        local.execute(
            f"COPY (SELECT {columns} FROM read_parquet({path_literal(parquet)})) TO {text_literal(path)} "
            "(FORMAT csv, HEADER true, DELIMITER ',', QUOTE '\"', ESCAPE '\"', NULLSTR '', USE_TMP_FILE false, "
            "TIMESTAMPFORMAT '%Y-%m-%d %H:%M:%S.%f')"
        )


def _csv_text(name: str, type_: str) -> str:
    """SQL for the text of a column."""
    decimal = _DECIMAL.fullmatch(type_)
    if not decimal or int(decimal[1]) <= _DIGITS_OF_64_BITS:
        return f'"{name}"'
    # DuckDB writes a number of 128 bits many times slower than one of 64, in which all but immense ones have room.
    narrow = f'TRY_CAST("{name}" AS DECIMAL({_DIGITS_OF_64_BITS},{decimal[2]}))'
    return f'COALESCE(CAST({narrow} AS VARCHAR), CAST("{name}" AS VARCHAR))'


def _publish(folder: Path, entry: Entry, token: str) -> ExportedFile:
    target = Path(folder, entry["name"])
    draft = _draft_path(folder, target.name, token)
    changed = draft.exists() and not _is_there(folder, entry)
    if changed:
        draft.replace(target)
    return ExportedFile(str(target), entry["rows"], entry["bytes"], entry["sha256"], written=changed)


def _is_there(folder: Path, entry: Entry) -> bool:
    """Whether a file is the one that the manifest describes."""
    path = Path(folder, entry["name"])
    return path.is_file() and path.stat().st_size == entry["bytes"] and sha256_of(path) == entry["sha256"]


def _described_tiers(warehouse: Warehouse, summary: Path, tiers: Sequence[Tier]) -> list[Entry]:
    """Each rate with the accounts, balances and interest of its tier, summed from the file; they must be the mart's."""
    with duckdb.connect(":memory:") as local:
        in_file = sums_by_tier(local.execute(sums_query(tiers, f"read_parquet({path_literal(summary)})")).fetchall())
    if in_file != sums_of_mart(warehouse, tiers):
        raise PipelineError(
            "The file of marts.account_summary holds other balances than the mart: nothing was exported. Another "
            "process may have changed the mart meanwhile: run the export again."
        )
    sums = [in_file.get(place, NOTHING) for place in range(len(tiers))]
    return [
        {
            **{column: str(value) for column, value in tier._asdict().items()},
            "accounts": one.accounts,
            "balance_amount": str(one.balance_amount),
            "annual_interest_amount": str(one.interest_amount),
        }
        for tier, one in zip(tiers, sums, strict=True)
    ]


def _publish_manifest(folder: Path, files: list[Entry], reflects: Reflects, tiers: list[Entry]) -> None:
    path = folder / MANIFEST_NAME
    try:
        present = path.read_bytes()
        standing_since = json.loads(present)["reflects"]["loaded_at"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        present, standing_since = b"", None
    time = reflects.loaded_at.isoformat(timespec="microseconds") + "Z" if reflects.loaded_at else None
    stands = isinstance(standing_since, str) and time is not None and standing_since <= time

    def manifest(loaded_at: str | None) -> bytes:
        content = {
            "schema_version": MANIFEST_SCHEMA_VERSION,
            "environment": reflects.environment,
            "reflects": {"loaded_at": loaded_at, "tiers": tiers, "models": dict(sorted(reflects.models.items()))},
            "files": files,
        }
        return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()

    if present != manifest(standing_since if stands else time):
        write_atomically(path, manifest(time))


def _last_change(warehouse: Warehouse, not_after: datetime | None) -> datetime | None:
    """The newest load, not later than `not_after`, with a new, changed or gone row."""
    if not_after is None:
        return None
    newest: datetime | None = warehouse.fetch(
        "SELECT MAX(loaded_at) FROM landing.load WHERE new_count + changed_count + gone_count > 0 "
        f"AND loaded_at <= {timestamp_literal(not_after)}"
    )[0][0]
    return newest


def _remove_leftovers(folder: Path, marts: Sequence[Mart]) -> None:
    for name in (*(name for mart in marts for name in _file_names(mart)), MANIFEST_NAME):
        for path in folder.glob(f".{name}.tmp-*"):
            path.unlink(missing_ok=True)


_REMEDIES = {
    (errno.ENOSPC, errno.EDQUOT, errno.EFBIG): "there is no room for the files. Free space, or set OUTPUT_PATH to a "
    "folder on another disk, and run the export again",
    (errno.EACCES, errno.EPERM, errno.EROFS): "it can't be written. Give this user write permission there, or set "
    "OUTPUT_PATH to another folder, and run the export again",
    (errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENOTEMPTY): "something that is not a folder, or not a file, "
    "stands in the way. Move it away and run the export again",
}


@contextmanager
def _sentences(folder: Path) -> Iterator[None]:
    """Turns what the file system and the engine raise into a sentence with a remedy."""
    try:
        yield
    except (OSError, duckdb.Error) as error:
        for codes, remedy in _REMEDIES.items():
            # DuckDB repeats the system's words for the code.
            if getattr(error, "errno", None) in codes or any(os.strerror(code) in str(error) for code in codes):
                raise PipelineError(f"The export to {folder} failed: {remedy}. ({first_line(error)})") from error
        raise PipelineError(
            f"The export to {folder} failed: {first_line(error)}. Put that right and run the export again."
        ) from error
