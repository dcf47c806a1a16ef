"""The control record with which a file may end: taken off the data, and what it claims compared with what was read."""

from __future__ import annotations

import csv
import shutil
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from pathlib import Path

import duckdb
from sqlglot import exp

from macros.text import plain_amount
from scripts.errors import FeedRefusedError
from scripts.feeds import ControlRecord, Feed, FileFormat
from scripts.ingest.reader_scan import ByteCounter, FileScan

# A control record is longer than no line of the kind.
_TAIL_BYTES = 1 << 16


@dataclass(frozen=True)
class Claims:
    """What a file says of itself: its number of data records, and where it tells one the sum of the column `sum_of`."""

    record_count: int
    sum: Decimal
    sum_of: str | None


def take_off_control_record(feed: Feed, path: Path, scan: FileScan, copy_path: Path) -> tuple[FileScan, Claims | None]:
    """The file without its control record, and what that claims; the file itself where its feed declares none.

    Args:
        copy_path: Where the text goes that is left, in UTF-8.

    Raises:
        FeedRefusedError: The last line is no control record, or holds no number where one has to be.
    """
    declared = feed.format.control_record
    if declared is None:
        return scan, None
    size = scan.text_path.stat().st_size
    with scan.text_path.open("rb") as source:
        source.seek(max(0, size - _TAIL_BYTES))
        tail = source.read()
    text = tail.rstrip(b"\r\n")
    line = tail[max(text.rfind(b"\n"), text.rfind(b"\r")) + 1 :]
    fields = _fields(line, feed.format)
    if not fields or fields[0].strip() != declared.marker:
        raise FeedRefusedError(
            f"{path} does not end with its control record (a line that begins with {declared.marker}): the file looks "
            f"cut off. Have the {feed.name} feed sent again."
        )
    if scan.text_path != copy_path:
        shutil.copyfile(scan.text_path, copy_path)
    with copy_path.open("r+b") as copy:
        copy.truncate(size - len(line))
    taken_off = ByteCounter(feed.format.delimiter)
    taken_off.add(line)
    rest = replace(
        scan,
        text_path=copy_path,
        head=scan.head[: size - len(line) - scan.text_offset],
        counts=scan.counts - taken_off.counts,
    )
    return rest, _claims(feed, path, declared, fields)


def check_claims(
    claims: Claims,
    connection: duckdb.DuckDBPyConnection,
    rows_table: str,
    feed: Feed,
    path: Path,
    row_count: int,
    rejected_count: int,
) -> None:
    """Compares what the control record claims with what was read.

    Raises:
        FeedRefusedError: They differ.
    """
    damaged = f", {rejected_count:,} of them damaged" if rejected_count else ""
    remedy = f"The file looks cut off or changed on its way: have the {feed.name} feed sent again."
    if claims.record_count != row_count + rejected_count:
        raise FeedRefusedError(
            f"{path}: its control record claims {claims.record_count:,} records, and {row_count + rejected_count:,} "
            f"are there{damaged}. {remedy}"
        )
    if claims.sum_of is None:
        return
    amount = plain_amount(exp.column(claims.sum_of), *feed.format.separators).sql(dialect="duckdb")
    found = connection.execute(
        f"SELECT coalesce(sum(TRY_CAST({amount} AS DECIMAL(38, 10))), 0) FROM {rows_table}"
    ).fetchone()
    assert found is not None
    if found[0] != claims.sum:
        column = feed.header[feed.columns.index(claims.sum_of)]
        claimed, is_there = str(claims.sum), str(found[0].normalize())
        raise FeedRefusedError(
            f"{path}: its control record claims {claimed} as the sum of {column}, and the records that could be read "
            f"come to {is_there}{' (' + damaged.removeprefix(', ') + ')' if damaged else ''}. {remedy}",
            quotes=[claimed, is_there],
        )


def _fields(line: bytes, written: FileFormat) -> list[str]:
    lines = [line.decode("utf-8", "replace")]
    try:
        records = csv.reader(lines, strict=True, delimiter=written.delimiter, escapechar=written.escape or None)
        return next(records, [])
    except csv.Error:
        return []


def _claims(feed: Feed, path: Path, declared: ControlRecord, fields: list[str]) -> Claims:
    decimal, thousands = feed.format.separators

    def number(position: int) -> Decimal:
        try:
            return Decimal(fields[position - 1].strip().replace(thousands or "\0", "").replace(decimal, "."))
        except (IndexError, InvalidOperation):
            raise FeedRefusedError(
                f"{path}: field {position} of its control record is no number. Have the {feed.name} feed sent again, "
                f"or mend the positions in feeds/{feed.name}.yaml."
            ) from None

    return Claims(
        record_count=int(number(declared.record_count)),
        sum=number(declared.sum) if declared.sum else Decimal(0),
        sum_of=declared.sum_of,
    )
