"""Reads a feed file into a table: every line of it becomes a row, a reject, or the reason to refuse the file.

The file is split into sound and damaged records (`reader_split`), and DuckDB parses the sound ones. Whether it did so
completely is not left to its word: the bytes of the file, or where it is damaged of its sound records, are counted, and
the rows have to hold exactly as much (`_Tally.accounts_for`).
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import duckdb
from sqlglot import exp

from macros.text import ABSENT_WORDS, WHITE_SPACE_CODE_POINTS, absent, cleaned
from scripts.errors import FeedRefusedError, first_line
from scripts.feeds import Feed
from scripts.ingest.contract import check_file, read_header
from scripts.ingest.control_record import check_claims, take_off_control_record
from scripts.ingest.reader_scan import BYTE_ORDER_MARK, ByteCounter, ByteCounts, FileScan, encoding_name, scan_file
from scripts.ingest.reader_split import (
    MAX_RECORD_BYTES,
    READ_BYTES,
    DamagedRecord,
    Grammar,
    has_plain_lines_only,
    split_damaged,
)
from scripts.sql import path_literal, text_literal

BUFFER_BYTES = 16 * MAX_RECORD_BYTES
"""Size of the pieces in which DuckDB reads a file; at least twice the longest record."""

_REJECT_BATCH = 5_000
_WHITE_SPACE = "".join(map(chr, WHITE_SPACE_CODE_POINTS))
_SHOWN_REJECTS = 3
_SHOWN_CHARACTERS = 80
_UNPARSED = (duckdb.InvalidInputException, duckdb.NotImplementedException, duckdb.IOException)


@dataclass(frozen=True)
class ParsedFeed:
    """A feed file in tables of the connection that read it.

    Attributes:
        sha256: Hex digest of the file; `byte_count`: its size.
        data_line_count: Records after the header, sound or not; an empty line is none.
        rows_read_count: Rows of `rows_table`; `rejected_count`: rows of `rejects_table`.
        rows_table: Table with the feed's columns, VARCHAR, text exactly as received, an empty field ''.
        rejects_table: Table: line_number BIGINT (where the record starts; the header is line 1), reason
            VARCHAR (too_few_fields, too_many_fields, broken_quoting, line_too_long, wrong_form), detail VARCHAR,
            raw_text VARCHAR,
            record_key VARCHAR (the trimmed key of the record, NULL where it can't be told).
        untold_key_count: Rows of `rejects_table` without a key.
    """

    feed: Feed
    path: Path
    sha256: str
    byte_count: int
    data_line_count: int
    rows_read_count: int
    rejected_count: int
    untold_key_count: int
    rows_table: str
    rejects_table: str


@dataclass(frozen=True)
class _Tally:
    """What the parsed rows hold: bytes of all values, and the special characters among them."""

    rows: int
    total: int
    delimiters: int
    quotes: int
    line_feeds: int
    carriage_returns: int
    line_ends: int
    empty_lines: int

    def accounts_for(self, text: ByteCounts, field_count: int) -> bool:
        """True if these rows hold all that a text with these counts holds: each byte of content, each delimiter and
        each line end is either in a value or is the markup of exactly this number of rows."""
        content = self.total - self.delimiters - self.quotes - self.line_feeds - self.carriage_returns
        blank_lines = text.empty_lines - self.empty_lines
        return (
            content == text.content_bytes
            and self.rows * (field_count - 1) + self.delimiters == text.delimiters
            and self.rows + self.line_ends + blank_lines == text.lines
            and self.quotes <= text.quotes
        )


@dataclass(frozen=True)
class _SoundText:
    """The file that DuckDB parses: the feed file itself, or its sound records alone.

    Attributes:
        counts: Counts of the text after the lines that are skipped.
        rejected: Records that were cut out; `rejected_lines`: their lines; `untold_keys`: those without a key.
    """

    path: Path
    counts: ByteCounts
    skipped_lines: int
    rejected: int = 0
    rejected_lines: int = 0
    untold_keys: int = 0


def read_feed(
    connection: duckdb.DuckDBPyConnection,
    feed: Feed,
    path: Path,
    *,
    encoding: str = "utf-8",
    max_rejected_share: float = 0.1,
) -> ParsedFeed:
    """Read `path` into `received_<feed>` and `rejected_<feed>`, tables that replace those of an earlier call.

    Runs no transaction statement. DuckDB 1.5 can lose rows of a file with quotes at the borders between threads: where
    the counts show that it did, the file is parsed once more, on one thread.

    Args:
        encoding: utf-8, utf-16, cp1252 or latin-1; of a feed that declares none.
        max_rejected_share: Refuse the file when more than this share of its data lines is damaged, 0 to 1.

    Raises:
        FeedRefusedError: the file breaks the contract; the two tables do not exist then.
    """
    codec = encoding_name(feed.format.encoding or encoding)
    path = path.absolute()
    check_file(feed, path)
    rows_table, rejects_table = f"received_{feed.name}", f"rejected_{feed.name}"
    try:
        with tempfile.TemporaryDirectory(prefix="feed_") as folder:
            parsed = _read(connection, feed, path, codec, Path(folder), rows_table, rejects_table)
        _check_rejected_share(connection, parsed, max_rejected_share)
    except _UNPARSED as error:
        with contextlib.suppress(duckdb.Error):  # inside a transaction, which the error has ended
            _drop(connection, rows_table, rejects_table)
        raise FeedRefusedError(f"{path} cannot be parsed: {first_line(error)} Please report this.") from error
    except OSError as error:
        _drop(connection, rows_table, rejects_table)
        raise FeedRefusedError(
            f"{path} cannot be read ({error.strerror or error}). Check its permissions and the free disk space."
        ) from error
    except FeedRefusedError:
        _drop(connection, rows_table, rejects_table)
        raise
    return parsed


def _read(
    connection: duckdb.DuckDBPyConnection,
    feed: Feed,
    path: Path,
    codec: str,
    folder: Path,
    rows_table: str,
    rejects_table: str,
) -> ParsedFeed:
    _drop(connection, rows_table, rejects_table)
    before = path.stat()
    scan = scan_file(path, codec, feed.format.delimiter, folder / "text.csv")
    scan, claims = take_off_control_record(feed, path, scan, folder / "text.csv")
    columns, header = read_header(feed, path, scan)
    header_counter = ByteCounter(feed.format.delimiter)
    header_counter.add(header)
    data = scan.counts - header_counter.counts
    if data.lines == data.empty_lines:
        raise FeedRefusedError(f"{path} holds a header and no data lines. Have the {feed.name} feed sent again.")

    connection.execute(
        f"CREATE TABLE {rejects_table} "
        "(line_number BIGINT, reason VARCHAR, detail VARCHAR, raw_text VARCHAR, record_key VARCHAR)"
    )
    lines = _DataLines(scan, len(header), first_line=header_counter.counts.line_ends + 1, counts=data)
    grammar = Grammar(len(columns), feed.format.delimiter, feed.format.escape)
    if lines.are_plain(grammar):
        text = _SoundText(scan.text_path, data, skipped_lines=1)
    else:
        text = _split(connection, feed, columns, lines, grammar, folder / "sound.csv", rejects_table)
    tally = _parse_whole(connection, rows_table, feed, path, columns, text, data)
    refused = tuple(_texts_of_wrong_form(connection, rows_table, feed, column) for column in columns)
    if any(refused):
        connection.execute(f"DELETE FROM {rejects_table}")
        grammar = replace(grammar, refused=refused)
        text = _split(connection, feed, columns, lines, grammar, folder / "sound.csv", rejects_table)
        tally = _parse_whole(connection, rows_table, feed, path, columns, text, data)
    if claims:
        check_claims(claims, connection, rows_table, feed, path, tally.rows, text.rejected)
    after = path.stat()
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns) or scan.byte_count != after.st_size:
        raise FeedRefusedError(f"{path} changed while it was being read. Run again when it has been written.")
    return ParsedFeed(
        feed=feed,
        path=path,
        sha256=scan.sha256,
        byte_count=scan.byte_count,
        data_line_count=tally.rows + text.rejected,
        rows_read_count=tally.rows,
        rejected_count=text.rejected,
        untold_key_count=text.untold_keys,
        rows_table=rows_table,
        rejects_table=rejects_table,
    )


@dataclass(frozen=True)
class _DataLines:
    """The lines after the header, `header_bytes` long; the first has the number `first_line`."""

    scan: FileScan
    header_bytes: int
    first_line: int
    counts: ByteCounts

    @contextlib.contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        with self.scan.text_path.open("rb") as source:
            source.seek(self.scan.text_offset + self.header_bytes)
            yield source

    def are_plain(self, grammar: Grammar) -> bool:
        """True if DuckDB can parse them where they are: plain lines, behind a header of one line, each ended by LF or
        each by CR LF, for DuckDB 1.5 loses rows, or raises, where these are mixed."""
        ends = self.scan.counts
        has_like_ends = ends.carriage_returns == ends.pairs and ends.pairs in (0, ends.line_feeds)
        with self.opened() as source:
            return has_like_ends and self.first_line == 2 and has_plain_lines_only(source, grammar)


def _split(
    connection: duckdb.DuckDBPyConnection,
    feed: Feed,
    columns: tuple[str, ...],
    lines: _DataLines,
    grammar: Grammar,
    sound_path: Path,
    rejects_table: str,
) -> _SoundText:
    """Write the sound records to `sound_path`, and the damaged ones to the table."""
    with lines.opened() as source, sound_path.open("wb") as sound:
        # DuckDB takes one away from the beginning of a file: this one, not the first row's.
        sound.write(BYTE_ORDER_MARK)
        damaged = split_damaged(source, grammar, lines.first_line, sound)
        rejects = _insert_rejects(connection, rejects_table, damaged, feed if columns[0] == feed.key else None)
    return _SoundText(sound_path, _count(sound_path, len(BYTE_ORDER_MARK), grammar.delimiter), 0, *rejects)


def _drop(connection: duckdb.DuckDBPyConnection, *tables: str) -> None:
    for table in tables:
        connection.execute(f"DROP TABLE IF EXISTS {table}")


def _count(path: Path, offset: int, delimiter: str) -> ByteCounts:
    counter = ByteCounter(delimiter)
    with path.open("rb") as file:
        file.seek(offset)
        while piece := file.read(READ_BYTES >> 4):
            counter.add(piece)
    return counter.counts


def _parse_whole(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    feed: Feed,
    path: Path,
    columns: tuple[str, ...],
    text: _SoundText,
    data: ByteCounts,
) -> _Tally:
    """Fill `table` with all that the sound text of a file holds, of whose data lines `data` are the counts.

    Raises:
        FeedRefusedError: Not every line could be accounted for.
    """
    # Where nothing was cut out, and no escape, the rows have to hold the file itself: then the split is checked, too.
    held = text.counts if text.rejected or feed.format.escape else data
    for is_parallel in (True, False):
        _parse(connection, table, feed, columns, text, is_parallel=is_parallel)
        tally = _tally(connection, table, feed, held)
        is_complete = tally.accounts_for(held, len(columns))
        if is_complete or not text.counts.quotes:
            break
    if not is_complete or text.counts.lines + text.rejected_lines != data.lines:
        raise FeedRefusedError(
            f"{path}: not every line could be accounted for. It has {data.lines} lines after the header, of which "
            f"{text.rejected_lines} are damaged and {text.counts.lines} sound, and the latter gave {tally.rows} rows. "
            f"Nothing is read rather than a line lost: please report this, with the file."
        )
    return tally


def _parse(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    feed: Feed,
    columns: tuple[str, ...],
    text: _SoundText,
    *,
    is_parallel: bool,
) -> None:
    """Fill `table` from a UTF-8 file. Rows that DuckDB loses are missing; the tally finds that out."""
    types = ", ".join(f"{text_literal(column)}: 'VARCHAR'" for column in columns)
    names = ", ".join(text_literal(column) for column in columns)
    options = {
        "columns": f"{{{types}}}",
        "force_not_null": f"[{names}]",
        "auto_detect": "false",
        "header": "false",
        "skip": str(text.skipped_lines),
        "delim": text_literal(feed.format.delimiter),
        "quote": "'\"'",
        "escape": "'\"'",
        # It raises on a CR in quotes.
        "strict_mode": "false",
        "ignore_errors": "true",
        "parallel": str(is_parallel).lower(),
        "max_line_size": str(2 * MAX_RECORD_BYTES),
        "buffer_size": str(BUFFER_BYTES),
        "compression": "'none'",
        "hive_partitioning": "false",
    }
    listed = ", ".join(f"{name} = {value}" for name, value in options.items())
    # A file may lack an optional column.
    received = ", ".join(column if column in columns else f"'' AS {column}" for column in feed.columns)
    connection.execute(
        f"CREATE OR REPLACE TABLE {table} AS SELECT {received} FROM read_csv({path_literal(text.path)}, {listed})"
    )


def _tally(connection: duckdb.DuckDBPyConnection, table: str, feed: Feed, text: ByteCounts) -> _Tally:
    """Count what the rows hold of `text`, from which they were parsed.

    Without a quote in the text no value can hold a comma or a line end, and where the values are smaller than the
    text's content something is missing whatever they hold: no need to look into them then.
    """
    total = " + ".join(f"strlen({column})" for column in feed.columns)
    rows, size = _one_row(connection, f"SELECT count(*), coalesce(sum({total}), 0) FROM {table}")
    if text.quotes == 0 or size < text.content_bytes:
        return _Tally(rows, size, 0, 0, 0, 0, 0, 0)
    divided = "replace(replace({0}, chr(13) || chr(10), chr(10)), chr(13), chr(10))"
    specials = (text_literal(feed.format.delimiter), "'\"'", "chr(10)", "chr(13)")
    sums = [_sum_over(feed, f"strlen({{0}}) - strlen(replace({{0}}, {character}, ''))") for character in specials]
    sums.append(_sum_over(feed, f"strlen({divided}) - strlen(replace({divided}, chr(10), ''))"))
    sums.append(_sum_over(feed, f"strlen({divided}) - strlen(regexp_replace({divided}, '\\n+', chr(10), 'g'))"))
    holding = " OR ".join(f"contains({column}, {character})" for column in feed.columns for character in specials)
    return _Tally(rows, size, *_one_row(connection, f"SELECT {', '.join(sums)} FROM {table} WHERE {holding}"))


def _sum_over(feed: Feed, amount: str) -> str:
    """SQL for the sum of `amount` over the rows and columns; {0} stands for the column."""
    return f"coalesce(sum({' + '.join(amount.format(column) for column in feed.columns)}), 0)"


def _one_row(connection: duckdb.DuckDBPyConnection, query: str) -> tuple[int, ...]:
    row = connection.execute(query).fetchone()
    assert row is not None
    return tuple(int(value) for value in row)


def _texts_of_wrong_form(
    connection: duckdb.DuckDBPyConnection, table: str, feed: Feed, column_name: str
) -> frozenset[str]:
    """The texts that a column holds and must not by its contract; one that stands for no value may always stand."""
    column = next(column for column in feed.declared if column.name == column_name)
    text = cleaned(exp.column(column.name)).sql(dialect="duckdb")
    faults = [f"NOT regexp_full_match({text}, {text_literal(column.pattern)})"] if column.pattern else []
    faults += [f"{text} LIKE '0_%'"] if column.options.leading_zeros == "refuse" else []
    if not faults:
        return frozenset()
    is_absent = absent(exp.column(column.name)).sql(dialect="duckdb")
    found = connection.execute(
        f"SELECT DISTINCT {column.name} FROM {table} WHERE NOT ({is_absent}) AND ({' OR '.join(faults)})"
    )
    return frozenset(text for (text,) in found.fetchall())


def _insert_rejects(
    connection: duckdb.DuckDBPyConnection, table: str, damaged: Iterable[DamagedRecord], keyed: Feed | None
) -> tuple[int, int, int]:
    """Store the damaged records: their number, that of the physical lines that they take up, and that of the records
    whose key can't be told.

    Args:
        keyed: The feed, where its key is the first field of a record.
    """
    count = lines = untold = 0
    for batch in _batches(damaged):
        keys = [_told_key(record, keyed) if keyed else None for record in batch]
        count += len(batch)
        lines += sum(record.line_count for record in batch)
        untold += keys.count(None)
        connection.execute(
            f"INSERT INTO {table} SELECT unnest(?::BIGINT[]), unnest(?::VARCHAR[]), unnest(?::VARCHAR[]), "
            f"unnest(?::VARCHAR[]), unnest(?::VARCHAR[])",
            [
                [record.line_number for record in batch],
                [record.reason for record in batch],
                [record.detail for record in batch],
                [record.raw_text for record in batch],
                keys,
            ],
        )
    return count, lines, untold


def _told_key(damaged: DamagedRecord, feed: Feed) -> str | None:
    """The key of a damaged record whose first field is its key; a field that says nothing tells none."""
    key = (damaged.first_field or "").strip(_WHITE_SPACE)
    if key.lower() in ABSENT_WORDS:
        return None
    return (key.lstrip("0") or "0") if feed.key in feed.stripped else key


def _batches(damaged: Iterable[DamagedRecord]) -> Iterator[list[DamagedRecord]]:
    iterator = iter(damaged)
    while batch := list(islice(iterator, _REJECT_BATCH)):
        yield batch


def _check_rejected_share(connection: duckdb.DuckDBPyConnection, parsed: ParsedFeed, max_share: float) -> None:
    share = parsed.rejected_count / parsed.data_line_count
    if share <= max_share:
        return
    shown = connection.execute(
        f"SELECT line_number, reason, detail, left(raw_text, {_SHOWN_CHARACTERS}) FROM {parsed.rejects_table} "
        f"ORDER BY line_number LIMIT {_SHOWN_REJECTS}"
    ).fetchall()
    examples = "; ".join(f"line {line}: {reason}, {detail}: {text!r}" for line, reason, detail, text in shown)
    raise FeedRefusedError(
        f"{parsed.path}: {parsed.rejected_count} of {parsed.data_line_count} data lines ({share:.1%}) are damaged, "
        f"more than the {max_share:.1%} allowed. The first: {examples}. Have the file sent again, or raise "
        f"MAX_REJECTED_SHARE if the rest may be loaded without them.",
        quotes=[repr(text) for *_, text in shown],
    )
