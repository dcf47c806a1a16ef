"""The control record with which a file may end: taken off the data, and what it claims compared with what was read."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from duckdb import DuckDBPyConnection
from sqlglot import exp

from macros.text import plain_amount
from scripts.errors import FeedRefusedError
from scripts.ingest.reader_scan import FileScan, count_bytes
from scripts.ingest.reader_split import Grammar, read_record

if TYPE_CHECKING:
    from scripts.ingest.reader import ParsedFeed

# No control record is longer.
_TAIL_BYTES = 1 << 16


@dataclass(frozen=True)
class Claims:
    """What a file says of itself: its number of data records, and where it tells one the sum of the column `sum_of`."""

    record_count: int
    sum: Decimal
    sum_of: str | None


def take_off_control_record(scan: FileScan, copy_path: Path) -> tuple[FileScan, Claims | None]:
    """The file without its control record (the text that is left in `copy_path`, UTF-8), and what that claims; the file
    itself where its feed declares none. Raises FeedRefusedError where the last line is no control record, or holds no
    number where one has to be."""
    feed, written = scan.feed, scan.feed.format
    declared = written.control_record
    if declared is None:
        return scan, None
    size = scan.text_path.stat().st_size
    with scan.text_path.open("rb") as source:
        source.seek(max(0, size - _TAIL_BYTES))
        tail = source.read()
    text = tail.rstrip(b"\r\n")
    line = tail[max(text.rfind(b"\n"), text.rfind(b"\r")) + 1 :]
    record = read_record(line, 0, Grammar(len(feed.columns), written.delimiter, written.escape))
    fields = [field.decode("utf-8", "replace").strip() for field in record.fields]
    if fields[:1] != [declared.marker]:
        raise FeedRefusedError(
            f"{scan.path} does not end with its control record (a line that begins with {declared.marker}): the file "
            f"looks cut off. Have the {feed.name} feed sent again."
        )

    def number(position: int) -> Decimal:
        decimal, thousands = written.separators
        try:
            return Decimal(fields[position - 1].replace(thousands or "\0", "").replace(decimal, "."))
        except (IndexError, InvalidOperation):
            raise FeedRefusedError(
                f"{scan.path}: field {position} of its control record is no number. Have the {feed.name} feed sent "
                f"again, or mend the positions in feeds/{feed.name}.yaml."
            ) from None

    record_count = int(number(declared.record_count))
    claims = Claims(record_count, number(declared.sum) if declared.sum else Decimal(0), declared.sum_of)
    if scan.text_path != copy_path:
        shutil.copyfile(scan.text_path, copy_path)
    with copy_path.open("r+b") as copy:
        copy.truncate(size - len(line))
    head = scan.head[: size - len(line) - scan.text_offset]
    counts = scan.counts - count_bytes(BytesIO(line), written.delimiter)
    return replace(scan, text_path=copy_path, head=head, counts=counts), claims


def check_claims(connection: DuckDBPyConnection, parsed: ParsedFeed, claims: Claims) -> None:
    """Raises FeedRefusedError unless what the control record claims is what was read."""
    feed, found = parsed.feed, parsed.data_line_count
    damaged = f"{parsed.rejected_count:,} of them damaged" if parsed.rejected_count else ""
    remedy = f"The file looks cut off or changed on its way: have the {feed.name} feed sent again."
    if claims.record_count != found:
        raise FeedRefusedError(
            f"{parsed.path}: its control record claims {claims.record_count:,} records, and {found:,} are there"
            f"{', ' + damaged if damaged else ''}. {remedy}"
        )
    if claims.sum_of is None:
        return
    amount = plain_amount(exp.column(claims.sum_of), *feed.format.separators).sql(dialect="duckdb")
    ((total,),) = connection.execute(
        f"SELECT coalesce(sum(TRY_CAST({amount} AS DECIMAL(38, 10))), 0) FROM {parsed.rows_table}"
    ).fetchall()
    if total != claims.sum:
        column = feed.header[feed.columns.index(claims.sum_of)]
        claimed, is_there = str(claims.sum), str(total.normalize())
        raise FeedRefusedError(
            f"{parsed.path}: its control record claims {claimed} as the sum of {column}, and the records that could be "
            f"read come to {is_there}{f' ({damaged})' if damaged else ''}. {remedy}",
            quotes=[claimed, is_there],
        )
