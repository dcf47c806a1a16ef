"""Reads a feed file into a table: every line of it becomes a row, a reject, or the reason to refuse the file.

The file is split into sound and damaged records (`reader_split`), and DuckDB parses the sound ones. Whether it did so
completely is not left to its word: the bytes of the file, or where it is damaged of its sound records, are counted, and
the rows have to hold exactly as much (`_account_for`).
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import duckdb
from duckdb import DuckDBPyConnection
from sqlglot import exp

from macros.text import absent, cleaned, id_text
from scripts.errors import FeedRefusedError, first_line
from scripts.feeds import Feed
from scripts.ingest.contract import check_file, read_header
from scripts.ingest.control_record import check_claims, take_off_control_record
from scripts.ingest.reader_scan import BYTE_ORDER_MARK, ByteCounts, FileScan, count_bytes, encoding_name, scan_file
from scripts.ingest.reader_split import MAX_RECORD_BYTES, DamagedRecord, Grammar, has_plain_lines_only, split_damaged
from scripts.sql import path_literal, text_literal

BUFFER_BYTES = 16 * MAX_RECORD_BYTES
"""Size of the pieces in which DuckDB reads a file; at least twice the longest record."""

_REJECT_BATCH = 5_000
_SHOWN_REJECTS = 3
_SHOWN_CHARACTERS = 80
_UNPARSED = (duckdb.InvalidInputException, duckdb.NotImplementedException, duckdb.IOException)


@dataclass(frozen=True)
class ParsedFeed:
    """A feed file in tables of the connection that read it.

    Attributes:
        sha256: Hex digest of the file; `byte_count`: its size.
        data_line_count: Records after the header, sound or not; an empty line is none.
        rows_read_count: Rows of `rows_table`.
        rejected_count: Rows of `rejects_table`; `untold_key_count`: those without a key.
        rows_table: Table with the feed's columns, VARCHAR, text exactly as received, an empty field ''.
        rejects_table: Table: line_number BIGINT (where the record starts; the header is line 1), reason
            VARCHAR (too_few_fields, too_many_fields, broken_quoting, line_too_long, wrong_form), detail VARCHAR,
            raw_text VARCHAR, record_key VARCHAR (the trimmed key of the record, NULL where it can't be told).
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
class _SoundText:
    """The file that DuckDB parses: the feed file itself, or its sound records alone. `counts` are of the text after the
    lines that are skipped, `rejected_lines` the physical lines of the records that were cut out."""

    path: Path
    counts: ByteCounts
    skipped_lines: int
    rejected_lines: int = 0


def read_feed(
    connection: DuckDBPyConnection, feed: Feed, path: Path, *, encoding: str = "utf-8", max_rejected_share: float = 0.1
) -> ParsedFeed:
    """Read `path` into `received_<feed>` and `rejected_<feed>`, tables that replace those of an earlier call.

    Runs no transaction statement. DuckDB 1.5 can lose rows of a file with quotes at the borders between threads: where
    the counts show that it did, the file is parsed once more, on one thread. `encoding` (utf-8, utf-16, cp1252 or
    latin-1) is that of a feed that declares none.

    Raises:
        FeedRefusedError: the file breaks the contract, or more than `max_rejected_share` (0 to 1) of its data lines is
            damaged; the two tables do not exist then.
    """
    codec = encoding_name(feed.format.encoding or encoding)
    path = path.absolute()
    try:
        check_file(feed, path)
        with tempfile.TemporaryDirectory(prefix="feed_") as folder:
            parsed = _read(connection, feed, path, codec, Path(folder))
        _check_rejected_share(connection, parsed, max_rejected_share)
    except (FeedRefusedError, OSError, *_UNPARSED) as error:
        with contextlib.suppress(duckdb.Error):  # inside a transaction, which the error has ended
            for table in _tables(feed):
                connection.execute(f"DROP TABLE IF EXISTS {table}")
        if isinstance(error, FeedRefusedError):
            raise
        if isinstance(error, OSError):
            raise FeedRefusedError(
                f"{path} cannot be read ({error.strerror or error}). Check its permissions and the free disk space."
            ) from error
        raise FeedRefusedError(f"{path} cannot be parsed: {first_line(error)} Please report this.") from error
    return parsed


def _tables(feed: Feed) -> tuple[str, str]:
    """The table of the rows, and that of the rejects."""
    return f"received_{feed.name}", f"rejected_{feed.name}"


def _read(connection: DuckDBPyConnection, feed: Feed, path: Path, codec: str, folder: Path) -> ParsedFeed:
    before = path.stat()
    scan = scan_file(feed, path, codec, folder / "text.csv")
    scan, claims = take_off_control_record(scan, folder / "text.csv")
    columns, header = read_header(scan)
    header_counts = count_bytes(BytesIO(header), feed.format.delimiter)
    data = scan.counts - header_counts
    if data.lines == data.empty_lines:
        raise FeedRefusedError(f"{path} holds a header and no data lines. Have the {feed.name} feed sent again.")

    first_line = header_counts.line_ends + 1
    sound_path = folder / "sound.csv"
    reading = _Reading(connection, scan, columns, len(header), first_line, data, sound_path, *_tables(feed))
    connection.execute(
        f"CREATE OR REPLACE TABLE {reading.rejects_table} "
        "(line_number BIGINT, reason VARCHAR, detail VARCHAR, raw_text VARCHAR, record_key VARCHAR)"
    )
    grammar = Grammar(len(columns), feed.format.delimiter, feed.format.escape)
    text = _SoundText(scan.text_path, data, skipped_lines=1) if reading.is_plain(grammar) else reading.split(grammar)
    row_count = reading.parse_whole(text)
    refused = tuple(reading.texts_of_wrong_form(column) for column in columns)
    if any(refused):
        text = reading.split(replace(grammar, refused=refused))
        row_count = reading.parse_whole(text)
    ((rejected_count, untold_key_count),) = connection.execute(
        f"SELECT count(*), count(*) - count(record_key) FROM {reading.rejects_table}"
    ).fetchall()
    parsed = ParsedFeed(
        feed=feed,
        path=path,
        sha256=scan.sha256,
        byte_count=scan.byte_count,
        data_line_count=row_count + rejected_count,
        rows_read_count=row_count,
        rejected_count=rejected_count,
        untold_key_count=untold_key_count,
        rows_table=reading.rows_table,
        rejects_table=reading.rejects_table,
    )
    if claims:
        check_claims(connection, parsed, claims)
    after = path.stat()
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns) or scan.byte_count != after.st_size:
        raise FeedRefusedError(f"{path} changed while it was being read. Run again when it has been written.")
    return parsed


@dataclass(frozen=True)
class _Reading:
    """The lines after the header (`header_bytes`) of a file, on their way into the two tables: `first_line` is the
    number of the first one, `data` are counts of all. `columns` are the feed's, in the order in which the file holds
    them; `sound_path` is where the sound records go, if there are others or DuckDB can't parse them where they are."""

    connection: DuckDBPyConnection
    scan: FileScan
    columns: tuple[str, ...]
    header_bytes: int
    first_line: int
    data: ByteCounts
    sound_path: Path
    rows_table: str
    rejects_table: str

    def opened(self) -> BinaryIO:
        source = self.scan.text_path.open("rb")
        source.seek(self.scan.text_offset + self.header_bytes)
        return source

    def is_plain(self, grammar: Grammar) -> bool:
        """True if DuckDB can parse the lines where they are: plain lines, behind a header of one line, each ended by LF
        or each by CR LF, for DuckDB 1.5 loses rows, or raises, where these are mixed."""
        ends = self.scan.counts
        has_like_ends = ends.carriage_returns == ends.pairs and ends.pairs in (0, ends.line_feeds)
        with self.opened() as source:
            return has_like_ends and self.first_line == 2 and has_plain_lines_only(source, grammar)

    def split(self, grammar: Grammar) -> _SoundText:
        """Write the sound records to their file, and the damaged ones to the table."""
        self.connection.execute(f"DELETE FROM {self.rejects_table}")
        with self.opened() as source, self.sound_path.open("w+b") as sound:
            # DuckDB takes one away from the beginning of a file: this one, not the first row's.
            sound.write(BYTE_ORDER_MARK)
            rejected_lines = self._insert_rejects(split_damaged(source, grammar, self.first_line, sound))
            sound.seek(len(BYTE_ORDER_MARK))
            counts = count_bytes(sound, grammar.delimiter)
        return _SoundText(self.sound_path, counts, 0, rejected_lines)

    def _insert_rejects(self, damaged: Iterable[DamagedRecord]) -> int:
        """Store the damaged records, and return the number of physical lines that they take up. The key of one is told
        where it is the record's first field, and by one that holds a value."""
        feed, lines, remaining = self.scan.feed, 0, iter(damaged)
        while batch := list(islice(remaining, _REJECT_BATCH)):
            *columns, line_counts = map(list, zip(*batch, strict=True))
            lines += sum(line_counts)
            self.connection.execute(
                f"INSERT INTO {self.rejects_table} SELECT unnest(?::BIGINT[]), unnest(?::VARCHAR[]), "
                "unnest(?::VARCHAR[]), unnest(?::VARCHAR[]), unnest(?::VARCHAR[])",
                columns,
            )
        first_field = exp.column("record_key")
        is_told = exp.and_(exp.convert(self.columns[0] == feed.key), exp.not_(absent(first_field)))
        told = exp.case().when(is_told, key_of(feed, first_field)).sql(dialect="duckdb")
        self.connection.execute(f"UPDATE {self.rejects_table} SET record_key = {told}")
        return lines

    def parse_whole(self, text: _SoundText) -> int:
        """Fill the table with all that the sound text holds; the number of its rows. Raises FeedRefusedError where not
        every line could be accounted for."""
        feed = self.scan.feed
        # Where nothing was cut out, and no escape, the rows have to hold the file itself: so the split is checked, too.
        held = text.counts if text.rejected_lines or feed.format.escape else self.data
        for is_parallel in (True, False):
            _parse(self.connection, self.rows_table, feed, self.columns, text, is_parallel=is_parallel)
            row_count, values = self._tally(held)
            is_complete = _account_for(row_count, values, held, len(self.columns))
            if is_complete or not text.counts.quotes:
                break
        if not is_complete or text.counts.lines + text.rejected_lines != self.data.lines:
            raise FeedRefusedError(
                f"{self.scan.path}: not every line could be accounted for. It has {self.data.lines} lines after the "
                f"header, of which {text.rejected_lines} are damaged and {text.counts.lines} sound, and the latter "
                f"gave {row_count} rows. Nothing is read rather than a line lost: please report this, with the file."
            )
        return row_count

    def _tally(self, text: ByteCounts) -> tuple[int, ByteCounts]:
        """The number of rows, and what the texts of all their values consist of, which were parsed from `text`. Without
        a quote in it no value can hold a comma or a line end, and where the values are smaller than its content
        something is missing whatever they hold: no need to look into them then."""
        rows, size = self._sums(["strlen({0})"])
        if text.quotes == 0 or size < text.content_bytes:
            return rows, ByteCounts(size)
        like_ends = "replace(replace({0}, chr(13) || chr(10), chr(10)), chr(13), chr(10))"
        specials = (text_literal(self.scan.feed.format.delimiter), "'\"'", "chr(10)", "chr(13)")
        amounts = [f"strlen({{0}}) - strlen(replace({{0}}, {character}, ''))" for character in specials]
        amounts.append("(strlen({0}) - strlen(replace({0}, chr(13) || chr(10), ''))) // 2")
        amounts.append(f"strlen({like_ends}) - strlen(regexp_replace({like_ends}, '\\n+', chr(10), 'g'))")
        columns = self.scan.feed.columns
        holding = " OR ".join(f"contains({column}, {character})" for column in columns for character in specials)
        _, *held = self._sums(amounts, holding)
        return rows, ByteCounts(size, *held)

    def _sums(self, amounts: list[str], condition: str = "TRUE") -> list[int]:
        """The number of rows, and the sum of each amount over them and the columns; {0} stands for the column."""
        added = [" + ".join(map(amount.format, self.scan.feed.columns)) for amount in amounts]
        sums = ", ".join(f"coalesce(sum({amount}), 0)" for amount in added)
        query = f"SELECT count(*), {sums} FROM {self.rows_table} WHERE {condition}"
        (row,) = self.connection.execute(query).fetchall()
        return list(map(int, row))

    def texts_of_wrong_form(self, column_name: str) -> frozenset[str]:
        """The texts that a column holds and must not by its contract; one that stands for no value may always stand."""
        column = next(column for column in self.scan.feed.declared if column.name == column_name)
        text = cleaned(exp.column(column_name)).sql(dialect="duckdb")
        faults = (
            [f"NOT regexp_full_match({text}, {text_literal(column.type_options.pattern)})"]
            if column.type_options.pattern
            else []
        )
        faults += [f"{text} LIKE '0_%'"] if column.options.leading_zeros == "refuse" else []
        if not faults:
            return frozenset()
        is_absent = absent(exp.column(column_name)).sql(dialect="duckdb")
        found = self.connection.execute(
            f"SELECT DISTINCT {column_name} FROM {self.rows_table} WHERE NOT ({is_absent}) AND ({' OR '.join(faults)})"
        )
        return frozenset(text for (text,) in found.fetchall())


def _account_for(row_count: int, values: ByteCounts, text: ByteCounts, field_count: int) -> bool:
    """True if rows with these values hold all that a text with these counts holds: each byte of content, each delimiter
    and each line end is either in a value or is the markup of exactly this number of rows."""
    return (
        values.content_bytes == text.content_bytes
        and row_count * (field_count - 1) + values.delimiters == text.delimiters
        and row_count + values.line_ends + text.empty_lines - values.empty_lines == text.lines
        and values.quotes <= text.quotes
    )


def _parse(
    connection: DuckDBPyConnection,
    table: str,
    feed: Feed,
    columns: tuple[str, ...],
    text: _SoundText,
    *,
    is_parallel: bool,
) -> None:
    """Fill `table` from a UTF-8 file. Rows that DuckDB loses are missing; the tally finds that out."""
    names = [text_literal(column) for column in columns]
    options = f"""
        columns = {{{", ".join(f"{name}: 'VARCHAR'" for name in names)}}}, force_not_null = [{", ".join(names)}],
        auto_detect = false, delim = {text_literal(feed.format.delimiter)}, quote = '"', escape = '"',
        strict_mode = false, -- it raises on a CR in quotes
        header = false, skip = {text.skipped_lines}, ignore_errors = true, parallel = {is_parallel},
        max_line_size = {2 * MAX_RECORD_BYTES}, buffer_size = {BUFFER_BYTES}, compression = 'none',
        hive_partitioning = false
    """
    # A file may lack an optional column.
    received = ", ".join(column if column in columns else f"'' AS {column}" for column in feed.columns)
    connection.execute(
        f"CREATE OR REPLACE TABLE {table} AS SELECT {received} FROM read_csv({path_literal(text.path)}, {options})"
    )


def key_of(feed: Feed, text: exp.Expr) -> exp.Expr:
    """The key for which a text stands, by which a feed's rows are compared."""
    return id_text(text, is_stripped=feed.key in feed.stripped)


def _check_rejected_share(connection: DuckDBPyConnection, parsed: ParsedFeed, max_share: float) -> None:
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
