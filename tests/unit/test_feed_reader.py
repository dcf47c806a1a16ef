"""What the feed reader promises: every line of a file is a row, a reject, or the reason to refuse the file."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from unittest import mock

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.errors import FeedRefusedError
from scripts.feeds import ACCOUNT, CUSTOMER
from scripts.ingest import reader, reader_scan, reader_split
from scripts.ingest.reader import ParsedFeed, read_feed

HEADER = b"CustomerID,Name,HasLoan\n"


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as opened:
        yield opened


@pytest.fixture(scope="module")
def shared() -> Iterator[duckdb.DuckDBPyConnection]:
    """One connection for all examples of a property."""
    with duckdb.connect() as opened:
        yield opened


@dataclass
class Outcome:
    parsed: ParsedFeed
    rows: list[tuple[str, ...]]
    rejects: list[tuple[int, str, str]]


def _tables(connection: duckdb.DuckDBPyConnection, parsed: ParsedFeed) -> Outcome:
    rows = connection.execute(f"FROM {parsed.rows_table}").fetchall()
    query = f"SELECT line_number, reason, raw_text FROM {parsed.rejects_table} ORDER BY line_number"
    rejects = connection.execute(query).fetchall()
    assert (len(rows), len(rejects)) == (parsed.rows_read_count, parsed.rejected_count)
    assert parsed.data_line_count == len(rows) + len(rejects)
    return Outcome(parsed, rows, rejects)


def _read(
    connection: duckdb.DuckDBPyConnection, folder: Path, content: bytes, share: float = 1.0, encoding: str = "utf-8"
) -> Outcome:
    path = folder / "Customer.csv"
    path.write_bytes(content)
    parsed = read_feed(connection, CUSTOMER, path, encoding=encoding, max_rejected_share=share)
    return _tables(connection, parsed)


def _refusal(
    connection: duckdb.DuckDBPyConnection, folder: Path, content: bytes, share: float = 0.1, encoding: str = "utf-8"
) -> str:
    with pytest.raises(FeedRefusedError) as caught:
        _read(connection, folder, content, share, encoding)
    assert connection.execute("SELECT table_name FROM duckdb_tables()").fetchall() == []
    message = str(caught.value)
    if encoding == "utf-8":
        assert str(folder / "Customer.csv") in message
    return message


def _told_keys(connection: duckdb.DuckDBPyConnection, parsed: ParsedFeed) -> list[str | None]:
    query = f"SELECT record_key FROM {parsed.rejects_table} ORDER BY line_number"
    keys = [key for (key,) in connection.execute(query).fetchall()]
    assert parsed.untold_key_count == keys.count(None)
    return keys


# What is ordinary


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (HEADER + b"1,Ann,yes\n2,,\n", [("1", "Ann", "yes"), ("2", "", "")]),
        (HEADER + b'1,"Ann\nLee",yes\n', [("1", "Ann\nLee", "yes")]),
        (HEADER + b'1,"Lee, Ann",yes\n', [("1", "Lee, Ann", "yes")]),
        (HEADER + b'1,"Ann ""A"" Lee",yes\n', [("1", 'Ann "A" Lee', "yes")]),
        (HEADER.replace(b"\n", b"\r\n") + b"1,Ann,yes\r\n2,Bo,no\r\n", [("1", "Ann", "yes"), ("2", "Bo", "no")]),
        (HEADER.replace(b"\n", b"\r\n") + b'1,"A\nB",yes\r\n', [("1", "A\nB", "yes")]),
        (HEADER.replace(b"\n", b"\r\n") + b'1,"A\r\nB",yes\r\n', [("1", "A\r\nB", "yes")]),
        (HEADER.replace(b"\n", b"\r") + b"1,Ann,yes\r2,Bo,no\r", [("1", "Ann", "yes"), ("2", "Bo", "no")]),
        (
            HEADER + b"1,Ann,yes\r\n2,Bo,no\r3,Cy,no\n\r\n\r",
            [("1", "Ann", "yes"), ("2", "Bo", "no"), ("3", "Cy", "no")],
        ),
        (b"\xef\xbb\xbf" + HEADER + b"1,Ann,yes\n", [("1", "Ann", "yes")]),
        (HEADER + b"\xef\xbb\xbf1,Ann,yes\n\xef\xbb\xbf2,,\n", [("\ufeff1", "Ann", "yes"), ("\ufeff2", "", "")]),
        (b'\xef\xbb\xbf"CustomerID",Name,HasLoan\n1,"Ann",yes\n', [("1", "Ann", "yes")]),
        (HEADER + b"1,Ann,yes", [("1", "Ann", "yes")]),
        (HEADER + "1,Zoë Ødegård 李,yes\n".encode(), [("1", "Zoë Ødegård 李", "yes")]),
        (HEADER + b"\n1,Ann,yes\n\n2,Bo,no\n\n\n", [("1", "Ann", "yes"), ("2", "Bo", "no")]),
        (HEADER + b"1,  , yes \n", [("1", "  ", " yes ")]),
        (HEADER + b'1,"",yes\n', [("1", "", "yes")]),
        (HEADER + b",,\n", [("", "", "")]),
        (HEADER + b"1,NULL,\\N\n", [("1", "NULL", "\\N")]),
        (HEADER + b"#1,Ann,yes\n", [("#1", "Ann", "yes")]),
        (HEADER + b'1,An"n,yes\n', [("1", 'An"n', "yes")]),
        (HEADER + b'1, "Ann" ,yes\n', [("1", ' "Ann" ', "yes")]),
        (HEADER + b"1,An\0n,yes\n", [("1", "An\0n", "yes")]),
        (HEADER + b'1,"An\0,n",yes\n2,b\n', [("1", "An\0,n", "yes")]),
    ],
)
def test_ordinary_text_is_read_exactly(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path, content: bytes, expected: list[tuple[str, ...]]
) -> None:
    outcome = _read(connection, tmp_path, content)
    assert outcome.rows == expected
    assert outcome.parsed.sha256 == hashlib.sha256(content).hexdigest()
    assert outcome.parsed.byte_count == len(content)


def test_columns_in_another_order_and_case_are_matched_by_name(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    outcome = _read(connection, tmp_path, b'HASLOAN, name ,"customerid"\nyes,Ann,1\nno,Bo\nno,Cy,3\n')
    assert outcome.rows == [("1", "Ann", "yes"), ("3", "Cy", "no")]
    assert outcome.rejects == [(3, "too_few_fields", "no,Bo")]


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1", "UTF-16", "iso-8859-1", "cp1252", "windows-1252"])
def test_a_declared_encoding_is_read(connection: duckdb.DuckDBPyConnection, tmp_path: Path, encoding: str) -> None:
    content = (HEADER.decode() + "1,Zoë,yes\n2,Bø\n").encode(encoding)
    outcome = _read(connection, tmp_path, content, encoding=encoding)
    assert outcome.rows == [("1", "Zoë", "yes")]
    assert outcome.rejects == [(3, "too_few_fields", "2,Bø")]
    assert outcome.parsed.sha256 == hashlib.sha256(content).hexdigest()
    assert outcome.parsed.byte_count == len(content)


def test_quotes_and_dashes_of_windows_are_read_as_what_they_are(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    content = HEADER + b"1,O\x92Neil \x96 Sons \x80,yes\n"
    assert _read(connection, tmp_path, content, encoding="cp1252").rows == [("1", "O’Neil – Sons €", "yes")]


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
def test_utf_8_that_would_become_other_letters_is_refused(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path, encoding: str
) -> None:
    message = _refusal(connection, tmp_path, HEADER + "1,Zoë,yes\n".encode(), encoding=encoding)
    assert f"is UTF-8 text, of which FEED_ENCODING={encoding} would make other letters" in message
    assert "FEED_ENCODING=utf-8" in message
    assert _read(connection, tmp_path, HEADER + b"1,Ann,yes\n", encoding=encoding).rows == [("1", "Ann", "yes")]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (gzip.compress(HEADER + b"1,Ann,yes\n", mtime=0), "is compressed by gzip"),
        (b"PK\x03\x04\x14\0\0\0", "is a ZIP archive or an Excel workbook"),
        (b"PAR1\x15\0", "is a Parquet file"),
    ],
    ids=["gzip", "zip", "parquet"],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "latin-1"])
def test_a_file_of_another_format_is_named_as_that(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path, content: bytes, said: str, encoding: str
) -> None:
    assert said in _refusal(connection, tmp_path, content, encoding=encoding)


@pytest.mark.parametrize(
    "name", ["it's.csv", "a b.csv", "s*r.csv", "q?.csv", "br[a]ck.csv", "k=1.csv", "x.csv.gz", "{a}"]
)
def test_any_file_name_is_taken_literally(connection: duckdb.DuckDBPyConnection, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "year=2024 [new] it's"
    folder.mkdir()
    (folder / name).write_bytes(HEADER + b"1,Ann,yes\n")
    for decoy in ("sxr.csv", "qa.csv", "bracka.csv"):
        (folder / decoy).write_bytes(HEADER + b"9,Decoy,no\n")
    outcome = _tables(connection, read_feed(connection, CUSTOMER, folder / name))
    assert outcome.rows == [("1", "Ann", "yes")]


def test_a_path_that_no_pattern_can_name_is_refused(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    path = tmp_path / "back\\sl*sh.csv"
    path.write_bytes(HEADER + b"1,Ann,yes\n")
    with pytest.raises(FeedRefusedError, match="Rename"):
        read_feed(connection, CUSTOMER, path)


def test_a_relative_path_is_read(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "Customer.csv").write_bytes(HEADER + b"1,Ann,yes\n")
    monkeypatch.chdir(tmp_path)
    assert read_feed(connection, CUSTOMER, Path("Customer.csv")).rows_read_count == 1


# What is damaged


@pytest.mark.parametrize(
    ("lines", "rejects", "keys"),
    [
        (b"1,Ann\n2,Bo,no\n", [(2, "too_few_fields", "1,Ann")], ["2"]),
        (b"1,Ann,yes,9\n2,Bo,no\n", [(2, "too_many_fields", "1,Ann,yes,9")], ["2"]),
        (b"1,Ann,yes,\n2,Bo,no\n", [(2, "too_many_fields", "1,Ann,yes,")], ["2"]),
        (b"1,2,3,4,5,6,7\n2,Bo,no\n", [(2, "too_many_fields", "1,2,3,4,5,6,7")], ["2"]),
        (b"  \n2,Bo,no\n", [(2, "too_few_fields", "  ")], ["2"]),
        (b'""\n2,Bo,no\n', [(2, "too_few_fields", '""')], ["2"]),
        (b'1,"Ann"x,yes\n2,Bo,no\n', [(2, "broken_quoting", '1,"Ann"x,yes')], ["2"]),
        (b'1,"Ann" ,yes\n2,Bo,no\n', [(2, "broken_quoting", '1,"Ann" ,yes')], ["2"]),
        (b'1,"Ann"x,yes,4,5\n2,Bo,no\n', [(2, "broken_quoting", '1,"Ann"x,yes,4,5')], ["2"]),
        (b'1,"Ann,yes\n2,Bo,no\n3,Cy,no\n', [(2, "broken_quoting", '1,"Ann,yes')], ["2", "3"]),
        (b'1,"Ann,yes\n2,"Bo",no\n3,Cy,no\n', [(2, "broken_quoting", '1,"Ann,yes')], ["2", "3"]),
        (b'1,"Ann,yes\n2,",Bo",no\n3,Cy,no\n', [(2, "broken_quoting", '1,"Ann,yes')], ["2", "3"]),
        (b'1,Ann,"yes\n2,Bo,no\n3,Cy,"no"\n', [(2, "broken_quoting", '1,Ann,"yes')], ["2", "3"]),
        (b'1,Ann,yes\n2,Bo,"no', [(3, "broken_quoting", '2,Bo,"no')], ["1"]),
        (
            b'1,"Ann,yes\n2,"Bo,no\n3,Cy,no\n',
            [(2, "broken_quoting", '1,"Ann,yes'), (3, "broken_quoting", '2,"Bo,no')],
            ["3"],
        ),
        (b'1,"A\nB"x,yes\n2,"Bo",no\n', [(2, "broken_quoting", '1,"A\nB"x,yes')], ["2"]),
        (b'1,"A\nB",yes,4\n2,"Bo",no\n', [(2, "too_many_fields", '1,"A\nB",yes,4')], ["2"]),
        (b'1,"A\n\nB",yes\n\n2,Bo\n3,Cy,no\n', [(6, "too_few_fields", "2,Bo")], ["1", "3"]),
        (b'1,"A\r\nB",yes\r\n2,Bo\r\n3,Cy,no\n', [(4, "too_few_fields", "2,Bo")], ["1", "3"]),
        (b'""\n', [(2, "too_few_fields", '""')], []),
        (b"1,Ann,yes\n2,Bo", [(3, "too_few_fields", "2,Bo")], ["1"]),
    ],
)
def test_a_damaged_record_is_one_reject_and_its_neighbours_are_kept(
    connection: duckdb.DuckDBPyConnection,
    tmp_path: Path,
    lines: bytes,
    rejects: list[tuple[int, str, str]],
    keys: list[str],
) -> None:
    outcome = _read(connection, tmp_path, HEADER + lines)
    assert outcome.rejects == rejects
    assert [row[0] for row in outcome.rows] == keys


def test_an_unclosed_quote_costs_one_line_however_many_follow(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    count = 1_000_000  # more than one record may be long
    outcome = _read(connection, tmp_path, HEADER + b'1,"Ann,yes\n' + b"2,Bo,no\n" * count, share=0.1)
    assert outcome.rejects == [(2, "broken_quoting", '1,"Ann,yes')]
    assert len(outcome.rows) == count


@pytest.mark.parametrize(
    ("damaged", "key"),
    [
        (b"7,Ann", "7"),
        (b"7,", "7"),
        (b"7,Ann,yes,extra", "7"),
        (b'7,"Ann,yes', "7"),
        (b'7,"An"n,yes', "7"),
        (b'"7",Ann', "7"),
        (b'"7 ""a"", b",Ann', '7 "a", b'),
        ("\u00a0 7\t,Ann".encode(), "7"),
        (b"Ann,yes", "Ann"),  # what its first field says
        # No comma ends the first field: it may be cut.
        (b"7", None),
        (b'"7,Ann,yes', None),
        (b'"7"x,Ann,yes', None),
        # The first field says nothing.
        (b",Ann", None),
        (b'"",Ann', None),
        (b" ,Ann", None),
        (b"n/A,Ann", None),
        # Another record may be part of it: a line end was lost, or stands in quotes.
        (b"7,Ann,yes8,Bo,no", None),
        (b"7,Ann,yes,8,Bo,no", None),
        (b'7,"Ann\n8,Bo"', None),
        (b'7,"Ann\n8,Bo"x,no', None),
    ],
)
def test_a_damaged_record_tells_its_key_where_that_is_sure(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path, damaged: bytes, key: str | None
) -> None:
    outcome = _read(connection, tmp_path, HEADER + b"1,Ann,yes\n" + damaged + b"\n")
    assert len(outcome.rejects) == 1
    assert _told_keys(connection, outcome.parsed) == [key]


def test_a_line_that_is_too_long_tells_no_key(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    """Its end is not read: there may be other records in it."""
    outcome = _read(connection, tmp_path, HEADER + b"1,Ann,yes\n7," + b"x" * 2_000_001 + b",yes\n")
    assert _told_keys(connection, outcome.parsed) == [None]


def test_no_key_is_told_where_it_is_not_the_first_column(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    outcome = _read(connection, tmp_path, b"Name,CustomerID,HasLoan\nAnn,1,yes\nBo,2\n")
    assert _told_keys(connection, outcome.parsed) == [None]


@pytest.mark.parametrize("size", [3_000_000, 40_000_000])
def test_a_line_that_is_too_long_is_a_reject(connection: duckdb.DuckDBPyConnection, tmp_path: Path, size: int) -> None:
    outcome = _read(connection, tmp_path, HEADER + b"1," + b"x" * size + b",yes\r\n2,Bo,no\n")
    [(line, reason, text)] = outcome.rejects
    assert (line, reason) == (2, "line_too_long")
    assert text == "1," + "x" * (reader_split.MAX_RECORD_BYTES - 2)
    assert outcome.rows == [("2", "Bo", "no")]
    detail = connection.execute("SELECT detail FROM rejected_customer").fetchall()[0][0]
    assert f"{size + 6} bytes" in detail


@pytest.mark.parametrize("damage", [b"", b"3,Cy\n"])
def test_a_long_line_within_the_limit_is_read(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path, damage: bytes
) -> None:
    name = "x\n" * 900_000
    outcome = _read(connection, tmp_path, HEADER + f'1,"{name}",yes\n'.encode() + damage + b"2,Bo,no\n")
    assert outcome.rows == [("1", name, "yes"), ("2", "Bo", "no")]


def test_damage_across_the_borders_of_a_large_file_is_found(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    """Damaged and quoted records on the borders of the pieces in which the file is read, here and by DuckDB."""
    connection.execute("SET threads = 4")
    good = b"A000000001,7,1234.50,savings\n"
    content = bytearray(b"AccountID,CustomerID,Balance,AccountType\n" + good * (72_000_000 // len(good)))
    line_total = content.count(b"\n")
    kinds = [b'A0000000"1,"7,1234.5,savings\n', b"A000000001,7,1234.50 savings\n", b'A000000001,7,"1\n345",savings\n']
    rejected = quoted = 0
    for place, border in enumerate(range(1 << 22, len(content), 1 << 22)):
        kind = kinds[place % 3]
        assert len(kind) == len(good)
        start = content.rindex(b"\n", 0, border - 1) + 1
        content[start : start + len(good)] = kind
        rejected += place % 3 != 2
        quoted += place % 3 == 2
        line_total += place % 3 == 2
    path = tmp_path / "accounts.csv"
    path.write_bytes(content)
    parsed = read_feed(connection, ACCOUNT, path)
    assert (parsed.rejected_count, parsed.data_line_count) == (rejected, line_total - 1 - quoted)
    found = connection.execute(
        "SELECT count(*) FROM received_account WHERE balance = '1' || chr(10) || '345'"
    ).fetchall()
    assert found == [(quoted,)]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("damage", [b"", b"lost\n"])
def test_quoted_rows_across_the_borders_between_threads_are_kept(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, damage: bytes
) -> None:
    """DuckDB 1.5 loses rows here if it reads on several threads and is told to pass over errors."""
    connection.execute("SET threads = 4")
    monkeypatch.setattr(reader, "BUFFER_BYTES", 1000)
    monkeypatch.setattr(reader, "MAX_RECORD_BYTES", 400)
    random = Random(seed)
    rows = [tuple("".join(random.choices('ab,"\né ', k=random.randrange(9))) for _ in range(3)) for _ in range(300)]
    content = "".join(_line(list(row), csv.QUOTE_MINIMAL) + "\n" for row in rows)
    outcome = _read(connection, tmp_path, HEADER + content.encode() + damage)
    assert outcome.rows == rows
    assert outcome.parsed.rejected_count == len(damage.splitlines())


# What is refused


def test_a_missing_file_is_refused_with_what_is_there(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    path = tmp_path / "Customer.csv"
    with pytest.raises(FeedRefusedError, match="holds no files"):
        read_feed(connection, CUSTOMER, path)
    (tmp_path / "customer.CSV").write_bytes(HEADER)
    (tmp_path / "other.txt").write_bytes(b"x")
    with pytest.raises(FeedRefusedError, match=r"customer\.CSV, other\.txt\. Is it customer\.CSV\? Then rename it"):
        read_feed(connection, CUSTOMER, path)
    with pytest.raises(FeedRefusedError, match="there is no folder"):
        read_feed(connection, CUSTOMER, tmp_path / "nowhere" / "Customer.csv")


def test_what_is_no_readable_file_is_refused(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "Customer.csv"
    path.mkdir()
    with pytest.raises(FeedRefusedError, match="is a folder"):
        read_feed(connection, CUSTOMER, path)
    path.rmdir()
    os.mkfifo(path)
    with pytest.raises(FeedRefusedError, match="not an ordinary file"):
        read_feed(connection, CUSTOMER, path)
    path.unlink()
    path.write_bytes(HEADER + b"1,Ann,yes\n")

    def deny(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(reader, "scan_file", deny)
    with pytest.raises(FeedRefusedError, match=r"cannot be read \(Permission denied\)"):
        read_feed(connection, CUSTOMER, path)


def test_an_empty_file_is_refused(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    assert "empty (0 bytes)" in _refusal(connection, tmp_path, b"")


@pytest.mark.parametrize("content", [HEADER, HEADER[:-1], HEADER + b"\n\r\n\n", b"\xef\xbb\xbf" + HEADER])
def test_a_header_without_data_is_refused(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path, content: bytes
) -> None:
    assert "a header and no data lines" in _refusal(connection, tmp_path, content)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (b"CustomerID,Name", ["missing: HasLoan"]),
        (b"CustomerID,Name,HasLoan,Age", ["not in the contract: Age"]),
        (b"CustomerID,Name,HasLoan,", ["not in the contract: (a column without a name)"]),
        (b"CustomerID,FullName,HasLoan", ["missing: Name", "not in the contract: FullName"]),
        (b"CustomerID,Name,Name,HasLoan", ["more than once: Name"]),
        (b"CustomerID,Name,name", ["missing: HasLoan", "more than once: Name"]),
        (b"CustomerID;Name;HasLoan", ["semicolon"]),
        (b'"CustomerID"\t"Name"\t"HasLoan"', ["tab"]),
        (b"CustomerID|Name|HasLoan", ["vertical bar"]),
        (b"1,Ann,yes", ["missing: CustomerID, Name, HasLoan"]),
        (b'CustomerID,"Name,HasLoan', ["not a line of CSV"]),
        (b"", ["line 1 is blank"]),
        (b"\xef\xbb\xbf", ["line 1 is blank"]),
        (b"C\0u\0s\0t\0", ["FEED_ENCODING=utf-16"]),
        (b"x" * 3_000_000, ["not a line of CSV"]),
    ],
)
def test_a_wrong_header_is_refused_by_name(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path, header: bytes, words: list[str]
) -> None:
    message = _refusal(connection, tmp_path, header + b"\n1,Ann,yes\n")
    for word in ["line 1", "CustomerID,Name,HasLoan", *words]:
        assert word in message


@pytest.mark.parametrize("lines_before", [0, 1, 40_000])
def test_text_that_is_not_utf_8_is_refused_with_its_place(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path, lines_before: int
) -> None:
    before = HEADER + "1,Zoë,yes\n".encode() * lines_before + b"2,Zo"
    message = _refusal(connection, tmp_path, before + b"\xeb,yes\n" + b"3,Cy,no\n" * 100)
    assert f"line {lines_before + 2} " in message
    assert f"byte offset {len(before)})" in message
    assert "FEED_ENCODING=cp1252" in message


def test_an_encoding_error_on_a_border_is_placed_exactly(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = HEADER + b"1,Zo"
    for chunk in range(len(before) - 2, len(before) + 5):
        monkeypatch.setattr(reader_scan, "CHUNK_BYTES", chunk)
        message = _refusal(connection, tmp_path, before + b"\xe2\x82,yes\n")
        assert f"line 2 holds bytes that are not valid in it (byte offset {len(before)})" in message
    assert "byte offset 28" in _refusal(connection, tmp_path, before + b"\xe2\x82")


def test_utf_16_is_named_where_utf_8_is_expected(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    message = _refusal(connection, tmp_path, (HEADER.decode() + "1,Ann,yes\n").encode("utf-16"))
    assert "line 1 " in message
    assert "FEED_ENCODING=utf-16" in message


def test_bytes_that_are_not_utf_16_are_refused(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    content = (HEADER.decode() + "1,Ann,yes\n").encode("utf-16") + b"\x00"
    assert f"line 3 holds bytes that are not valid in it (byte offset {len(content) - 1})" in _refusal(
        connection, tmp_path, content, encoding="utf-16"
    )


@pytest.mark.parametrize("encoding", ["cp1250", "utf8mb4", ""])
def test_an_unknown_encoding_is_refused_with_the_list(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path, encoding: str
) -> None:
    message = _refusal(connection, tmp_path, HEADER + b"1,Ann,yes\n", encoding=encoding)
    assert "FEED_ENCODING" in message
    assert "utf-8, utf-16, cp1252, latin-1" in message


def test_too_many_rejects_refuse_the_file_and_show_the_first_three(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    good, bad = b"1,Ann,yes\n", b"2,Bo\n"
    assert _read(connection, tmp_path, HEADER + good * 9 + bad, share=0.1).parsed.rejected_count == 1
    connection.execute("DROP TABLE received_customer; DROP TABLE rejected_customer")
    message = _refusal(connection, tmp_path, HEADER + good * 16 + b'2,"Bo"x,no\n' + bad * 3, share=0.1)
    for shown in ("4 of 20 data lines (20.0%)", "MAX_REJECTED_SHARE", "line 18: broken_quoting", "line 20"):
        assert shown in message
    assert "line 19: too_few_fields, 3 fields expected, 2 found: '2,Bo'" in message
    assert "line 21" not in message


def test_a_file_that_changes_while_it_is_read_is_refused(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "Customer.csv"

    def scan_then_change(*arguments: Path) -> reader_scan.FileScan:
        scan = reader_scan.scan_file(*arguments)  # type: ignore[arg-type]
        path.write_bytes(path.read_bytes().replace(b"Ann", b"Eve"))
        os.utime(path, ns=(1, 1))
        return scan

    monkeypatch.setattr(reader, "scan_file", scan_then_change)
    assert "changed while it was being read" in _refusal(connection, tmp_path, HEADER + b"1,Ann,yes\n")


@pytest.mark.parametrize("lost", ["WHERE customer_id <> '2'", "WHERE customer_name <> 'B,o'"])
def test_a_row_that_the_parser_loses_is_not_lost_silently(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    parse = reader._parse

    def parse_and_lose(opened: duckdb.DuckDBPyConnection, table: str, *rest: object, is_parallel: bool) -> None:
        parse(opened, table, *rest, is_parallel=is_parallel)  # type: ignore[arg-type]
        opened.execute(f"CREATE OR REPLACE TABLE {table} AS FROM {table} {lost}")

    monkeypatch.setattr(reader, "_parse", parse_and_lose)
    message = _refusal(connection, tmp_path, HEADER + b'1,Ann,yes\n2,"B,o",no\n3,Cy,no\n', share=1)
    assert "not every line could be accounted for" in message


def test_a_character_that_the_split_loses_is_not_lost_silently(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def split_and_lose(source: io.BufferedReader, grammar: object, first_line: int, sound: io.BufferedWriter) -> list:
        sound.write(source.read().replace(b"Ann", b"An"))
        return []

    monkeypatch.setattr(reader, "split_damaged", split_and_lose)
    message = _refusal(connection, tmp_path, HEADER + b'1,Ann,yes\n2,"Bo",no\n')
    assert "not every line could be accounted for" in message


# What is left behind


def test_only_the_two_tables_stay_and_the_callers_transaction_is_kept(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    connection.execute("CREATE TABLE kept (i INTEGER)")
    connection.execute("BEGIN")
    connection.execute("INSERT INTO kept VALUES (1)")
    _read(connection, tmp_path, HEADER + b"1,Ann,yes\n2,Bo\n")
    outcome = _read(connection, tmp_path, HEADER + b'7,"A\nB",yes\n2,"B\r\n')
    assert outcome.rows == [("7", "A\nB", "yes")]
    with pytest.raises(FeedRefusedError):
        _read(connection, tmp_path, HEADER)
    _read(connection, tmp_path, HEADER + b"8,Di,yes\n")
    listed = connection.execute("SELECT table_name FROM duckdb_tables() ORDER BY 1").fetchall()
    assert listed == [("kept",), ("received_customer",), ("rejected_customer",)]
    assert list(scratch.iterdir()) == []
    connection.execute("ROLLBACK")
    assert connection.execute("FROM kept").fetchall() == []


# Any file

_LETTERS = st.text("abÉ 0\t", max_size=5)
_ANY_TEXT = st.one_of(_LETTERS, st.text('ab,"\n\r\té\0 \ufeff', max_size=8), st.just("\r\n"))
_TAME_TEXT = st.tuples(st.sampled_from("abc"), st.text('ab,"\né ', max_size=5)).map("".join)


def _line(values: list[str], quoting: int) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, quoting=quoting, lineterminator="\r\n").writerow(values)  # type: ignore[arg-type]
    return buffer.getvalue().removesuffix("\r\n")


def _good(text: st.SearchStrategy[str]) -> st.SearchStrategy[tuple[str, str | None]]:
    quoting = st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
    return st.builds(lambda values, how: (_line(values, how), None), st.lists(text, min_size=3, max_size=3), quoting)


_PLAIN_GOOD = st.sampled_from(['1,a"b"c,2', '1, "a" ,2', ",,", ' ," ",', "1,b ,\t"]).map(lambda line: (line, None))
_WORD = st.text("abc", min_size=1, max_size=4)
_DAMAGED = st.one_of(
    _WORD.map(lambda word: (f"{word},{word}", "too_few_fields")),
    _WORD.map(lambda word: (f'"{word}\n{word}"', "too_few_fields")),
    _WORD.map(lambda word: (f"{word},1,2,", "too_many_fields")),
    _WORD.map(lambda word: (f'1,"{word}\n\n{word}",2,3,4', "too_many_fields")),
    _WORD.map(lambda word: (f'1,"{word}"{word},2', "broken_quoting")),
    _WORD.map(lambda word: (f'1,"{word}\n{word}"{word},2', "broken_quoting")),
)
_UNCLOSED = _WORD.map(lambda word: (f'1,"{word},2', "broken_quoting"))
# After an unclosed quote the next quote decides. One that opens a field of ordinary text shows what happened.
_RECORDS = st.one_of(
    st.lists(st.one_of(_good(_ANY_TEXT), _PLAIN_GOOD), min_size=1, max_size=12),
    st.lists(st.one_of(_good(_ANY_TEXT), _PLAIN_GOOD, _DAMAGED), min_size=1, max_size=12),
    st.lists(st.one_of(_good(_TAME_TEXT), _DAMAGED, _UNCLOSED), min_size=1, max_size=12),
)


@settings(max_examples=150, deadline=None)
@given(
    records=_RECORDS,
    line_ends=st.sampled_from([["\n"], ["\r\n"], ["\r"], ["\n", "\r\n", "\r"]]),
    data=st.data(),
    is_ended=st.booleans(),
    mark=st.sampled_from([b"", b"\xef\xbb\xbf"]),
    piece_bytes=st.sampled_from([1, 2, 3, 7, 64, 1 << 20]),
)
def test_good_records_read_as_the_csv_module_reads_them_and_each_damaged_one_is_rejected_once(
    shared: duckdb.DuckDBPyConnection,
    records: list[tuple[str, str | None]],
    line_ends: list[str],
    data: st.DataObject,
    is_ended: bool,
    mark: bytes,
    piece_bytes: int,
) -> None:
    rows: list[tuple[str, ...]] = []
    rejects: list[tuple[int, str, str]] = []
    text = HEADER.decode().rstrip() + line_ends[0]
    for position, (record, reason) in enumerate(records):
        end = data.draw(st.sampled_from(line_ends)) * data.draw(st.sampled_from([1, 1, 1, 2]))
        line_number = len(io.StringIO(text, newline=None).read().split("\n"))
        if reason is None:
            rows.extend(tuple(row) for row in csv.reader([record], strict=True))
        else:
            rejects.append((line_number, reason, record))
        is_last = position == len(records) - 1
        text += record + (end if is_ended or not is_last else "")
    content = mark + text.encode()
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(reader_split, "READ_BYTES", piece_bytes),
        mock.patch.object(reader_split, "_RUN_BYTES", piece_bytes),
        mock.patch.object(reader_scan, "CHUNK_BYTES", max(piece_bytes, 3)),
    ):
        outcome = _read(shared, Path(folder), content)
    assert outcome.rows == rows
    assert outcome.rejects == rejects


@settings(max_examples=150, deadline=None)
@given(soup=st.text('a,,"\n\r b', min_size=1, max_size=80), piece_bytes=st.sampled_from([1, 5, 1 << 20]))
def test_no_file_loses_a_character(shared: duckdb.DuckDBPyConnection, soup: str, piece_bytes: int) -> None:
    content = HEADER + soup.encode()
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(reader_split, "READ_BYTES", piece_bytes):
        if not soup.strip("\r\n"):
            with pytest.raises(FeedRefusedError, match="no data lines"):
                _read(shared, Path(folder), content)
            return
        outcome = _read(shared, Path(folder), content)
    received = "".join("".join(row) for row in outcome.rows) + "".join(raw for _, _, raw in outcome.rejects)
    kept = Counter(character for character in received if character in "ab ")
    assert kept == Counter(character for character in soup if character in "ab ")
