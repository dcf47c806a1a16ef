"""What a contract may say of how its file is written: delimiter, escape, encoding, amounts, ids, control record."""

from __future__ import annotations

import csv
import io
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from scripts.errors import FeedRefusedError, SettingsError
from scripts.feeds import FOLDER, Feed, read_feeds
from scripts.ingest import reader_split
from scripts.ingest.reader import read_feed

HEADER = ("AccountID", "CustomerID", "Balance", "AccountType")
ID, OWNER, BALANCE = range(3)
CONTROL = {"marker": "TRL", "recordCount": 2, "sum": 3, "sumOf": "balance"}

Rows = list[tuple[Any, ...]]


def account_feed(columns: dict[int, dict[str, Any]] | None = None, **said: Any) -> Feed:
    """The contract of the accounts with these properties of its file and of its columns."""
    yaml = YAML()
    contract = yaml.load((FOLDER / "account.yaml").read_text(encoding="utf-8"))
    (table,) = contract["schema"]
    table["customProperties"] = [{"property": name, "value": value} for name, value in said.items()]
    for place, extra in (columns or {}).items():
        table["properties"][place] |= extra
    with tempfile.TemporaryDirectory() as folder:
        yaml.dump(contract, Path(folder) / "account.yaml")
        (feed,) = read_feeds(Path(folder))
    return feed


def leading_zeros(how: str) -> dict[str, Any]:
    return {"customProperties": [{"property": "leadingZeros", "value": how}]}


def pattern(form: str) -> dict[str, Any]:
    return {"logicalTypeOptions": {"pattern": form}}


def read(feed: Feed, content: bytes, *, share: float = 1.0, encoding: str = "utf-8") -> tuple[Rows, Rows]:
    """The rows of a file, and its rejects: line, reason, key."""
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as connection:
        path = Path(folder) / "accounts.csv"
        path.write_bytes(content)
        parsed = read_feed(connection, feed, path, encoding=encoding, max_rejected_share=share)
        rows = connection.sql(f"FROM {parsed.rows_table}").fetchall()
        rejects = connection.sql(f"SELECT line_number, reason, record_key FROM {parsed.rejects_table}").fetchall()
    assert parsed.data_line_count == len(rows) + len(rejects)
    return rows, rejects


def refusal(feed: Feed, content: bytes) -> FeedRefusedError:
    with pytest.raises(FeedRefusedError) as caught:
        read(feed, content)
    return caught.value


def text(*rows: str, delimiter: str = ",") -> bytes:
    return "".join(f"{row}\n" for row in (delimiter.join(HEADER), *rows)).encode()


# ------------------------------------------------------------------------------------------------- delimiter and escape


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_a_declared_delimiter_separates_and_a_comma_is_text(delimiter: str) -> None:
    lines = [delimiter.join(row) for row in (["A1", "1", "5,0", "savings"], ["A2", "2", '"6"', "a"])]
    content = text(*lines, delimiter=delimiter).replace(b"\n", b"\r\n")
    rows, rejects = read(account_feed(delimiter=delimiter), content)
    assert rows == [("A1", "1", "5,0", "savings"), ("A2", "2", "6", "a")]
    assert rejects == []


def test_another_delimiter_than_the_declared_one_is_named() -> None:
    error = refusal(account_feed(delimiter=";"), text("A1,1,5,savings"))
    assert "separated by a comma (,), not by a semicolon (;)" in str(error)
    assert "AccountID;CustomerID;Balance;AccountType" in str(error)
    assert "`delimiter` in feeds/account.yaml" in str(error)


def test_damaged_lines_tell_their_key_by_the_declared_delimiter() -> None:
    content = text("A1;1;5;savings", "A2;2;5", '"A3";"3;5;savings', "A4;4;5;savings", delimiter=";")
    rows, rejects = read(account_feed(delimiter=";"), content)
    assert [row[ID] for row in rows] == ["A1", "A4"]
    assert rejects == [(3, "too_few_fields", "A2"), (4, "broken_quoting", "A3")]


@pytest.mark.parametrize(
    ("line", "row"),
    [
        (r'A1,1,"say \"hi\"",savings', ("A1", "1", 'say "hi"', "savings")),
        (r"A1,1,5\,0,savings", ("A1", "1", "5,0", "savings")),
        (r"A\\1,1,5,savings", ("A\\1", "1", "5", "savings")),
        (r'A1,1,"a ""b"" \\",savings', ("A1", "1", 'a "b" \\', "savings")),
    ],
)
def test_a_declared_escape_takes_the_meaning_away(line: str, row: tuple[str, ...]) -> None:
    content = text("A0,1,5,savings", line, "A9,1,5,savings")
    rows, rejects = read(account_feed(escape="\\"), content)
    assert rows == [("A0", "1", "5", "savings"), row, ("A9", "1", "5", "savings")]
    assert rejects == []


def test_without_a_declared_escape_a_backslash_is_text() -> None:
    rows, rejects = read(account_feed(), text(r"A\1,1,5\,savings", r'A2,1,"say \"hi\"",savings'))
    assert rows == [("A\\1", "1", "5\\", "savings")]
    assert [reason for _, reason, _ in rejects] == ["broken_quoting"]


_FIELDS = st.lists(st.text('ab,;|\\"\n\té ', max_size=6), min_size=4, max_size=4)


@settings(max_examples=150, deadline=None)
@given(
    records=st.lists(_FIELDS, min_size=1, max_size=10),
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
    escape=st.sampled_from(["", "\\"]),
    doubled=st.booleans(),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    piece_bytes=st.sampled_from([1, 7, 1 << 20]),
)
def test_what_the_csv_module_writes_is_read_again(
    records: list[list[str]],
    delimiter: str,
    escape: str,
    doubled: bool,
    quoting: Any,
    piece_bytes: int,
) -> None:
    buffer = io.StringIO(newline="")
    csv.writer(
        buffer,
        delimiter=delimiter,
        escapechar=escape or None,
        doublequote=doubled or not escape,
        quoting=quoting,
        lineterminator="\n",
    ).writerows([HEADER, *records])
    with (
        mock.patch.object(reader_split, "READ_BYTES", piece_bytes),
        mock.patch.object(reader_split, "_RUN_BYTES", piece_bytes),
    ):
        rows, rejects = read(account_feed(delimiter=delimiter, escape=escape), buffer.getvalue().encode())
    assert rows == [tuple(record) for record in records]
    assert rejects == []


@settings(max_examples=100, deadline=None)
@given(
    soup=st.text('a;;;"\\\n\r b', min_size=1, max_size=80).filter(lambda soup: soup.strip("\r\n")),
    escape=st.sampled_from(["", "\\"]),
    piece_bytes=st.sampled_from([1, 5, 1 << 20]),
)
def test_no_file_loses_a_character(soup: str, escape: str, piece_bytes: int) -> None:
    feed = account_feed(delimiter=";", escape=escape)
    with (
        mock.patch.object(reader_split, "READ_BYTES", piece_bytes),
        tempfile.TemporaryDirectory() as folder,
        duckdb.connect() as connection,
    ):
        path = Path(folder) / "accounts.csv"
        path.write_bytes(text(delimiter=";") + soup.encode())
        parsed = read_feed(connection, feed, path, max_rejected_share=1)
        rows = connection.sql(f"FROM {parsed.rows_table}").fetchall()
        raw = connection.sql(f"SELECT raw_text FROM {parsed.rejects_table}").fetchall()
    received = "".join(map("".join, rows)) + "".join(line for (line,) in raw)
    kept = Counter(character for character in received if character in "ab ")
    assert kept == Counter(character for character in soup if character in "ab ")


def test_a_declared_encoding_goes_before_the_setting() -> None:
    content = text("A1,1,5,“é”").decode().encode("cp1252")
    assert read(account_feed(encoding="cp1252"), content)[0] == [("A1", "1", "5", "“é”")]
    assert read(account_feed(encoding="utf-16"), content.decode("cp1252").encode("utf-16"), encoding="latin-1")[0]


# ------------------------------------------------------------------------------------------------------- control record

SOUND = ("A1,1,5.50,savings", 'A2,2,"1000",savings', "A3,3,-0.25,checking")


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_control_record_that_agrees_is_no_data(end: str, encoding: str) -> None:
    content = text(*SOUND).decode() + "TRL,0003,1005.25" + end
    rows, rejects = read(account_feed(controlRecord=CONTROL, encoding=encoding), content.encode(encoding))
    assert [row[ID] for row in rows] == ["A1", "A2", "A3"]
    assert rejects == []


def test_sums_are_written_as_the_amounts_are() -> None:
    feed = account_feed(delimiter=";", decimalSeparator=",", thousandsSeparator=".", controlRecord=CONTROL)
    content = text("A1;1;1.005,50;savings", "A2;2;-0,25;savings", delimiter=";")
    assert len(read(feed, content + b"TRL;2;1.005,25\n")[0]) == 2
    assert "claims 1005.52" in str(refusal(feed, content + b"TRL;2;1.005,52\n"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (text(*SOUND), "does not end with its control record (a line that begins with TRL)"),
        (text(*SOUND) + b"TRL,30,1005.25\n", "claims 30 records, and 3 are there"),
        (text(*SOUND[:2]) + b"TRL,3,1005.25\n", "claims 3 records, and 2 are there"),
        (text(*SOUND, "A4,4") + b"TRL,3,1005.25\n", "claims 3 records, and 4 are there, 1 of them damaged"),
        (text(*SOUND, "A4,4") + b"TRL,4,1010.25\n", "come to 1005.25 (1 of them damaged)"),
        (text(*SOUND) + b"TRL,3,1005.26\n", "claims 1005.26 as the sum of Balance, and the records that could be read"),
        (text(*SOUND) + b"TRL,three,1005.25\n", "field 2 of its control record is no number"),
        (text(*SOUND) + b"TRL,3\n", "field 3 of its control record is no number"),
        (text() + b"TRL,0,0\n", "holds a header and no data lines"),
    ],
    ids=["none", "more", "cut", "damaged", "damaged sum", "sum", "no number", "no field", "no data"],
)
def test_a_file_that_its_control_record_does_not_fit_is_refused(content: bytes, said: str) -> None:
    assert said in str(refusal(account_feed(controlRecord=CONTROL), content))


def test_sums_of_a_refusal_stay_on_the_terminal() -> None:
    error = refusal(account_feed(controlRecord=CONTROL), text(*SOUND) + b"TRL,3,1005.26\n")
    assert set(error.quotes) == {"1005.26", "1005.25"}


# --------------------------------------------------------------------------------------------------------------- values


def test_ids_that_a_spreadsheet_spoiled_are_rejected_and_their_keys_not_told() -> None:
    feed = account_feed({ID: pattern("[0-9]{5,}")})
    rows, rejects = read(feed, text("7700123456,1,5,savings", "7.70012E+15,2,5,savings", ' 77001 ,3,"5",savings'))
    assert [row[ID] for row in rows] == ["7700123456", " 77001 "]
    assert rejects == [(3, "wrong_form", None)]


def test_a_value_of_the_wrong_form_in_another_column_tells_the_key() -> None:
    feed = account_feed({OWNER: pattern("[0-9]+")})
    content = text("A1,1,5,savings", "A2,x2,5,savings", '"A3","3","5","a\nb"', "A4,,5,savings", "A5,n/a,5,é")
    rows, rejects = read(feed, content)
    assert [row[ID] for row in rows] == ["A1", "A3", "A4", "A5"]
    assert rejects == [(3, "wrong_form", "A2")]


def test_letters_beyond_ascii_match_as_letters() -> None:
    feed = account_feed({OWNER: pattern("é+|日")})
    rows, rejects = read(feed, text("A1,éé,5,savings", "A2,è,5,savings", "A3,日,5,savings"))
    assert [row[ID] for row in rows] == ["A1", "A3"]
    assert rejects == [(3, "wrong_form", "A2")]


def test_too_many_values_of_the_wrong_form_refuse_the_file() -> None:
    feed = account_feed({ID: pattern("[0-9]+")})
    with pytest.raises(FeedRefusedError, match=r"2 of 3 data lines \(66\.7%\) are damaged"):
        read(feed, text("1,1,5,savings", "7.7E+15,1,5,savings", "7.8E+15,1,5,savings"), share=0.1)


def test_leading_zeros_that_are_refused_reject_the_line() -> None:
    content = text("007,1,5,savings", "7,1,5,savings", "0,1,5,savings", " 08,1,5,savings")
    rows, rejects = read(account_feed({ID: leading_zeros("refuse")}), content)
    assert [row[ID] for row in rows] == ["7", "0"]
    assert rejects == [(2, "wrong_form", None), (5, "wrong_form", None)]
    assert len(read(account_feed({ID: leading_zeros("keep")}), content)[0]) == 4


def test_a_damaged_line_tells_its_key_without_the_zeros_that_are_taken_off() -> None:
    _, rejects = read(account_feed({ID: leading_zeros("strip")}), text("7,1,5,savings", "0080,1", " 000 ,1"))
    assert [key for *_, key in rejects] == ["80", "0"]


# ------------------------------------------------------------------------------------------------------------ contracts

BREACHES: dict[str, tuple[Callable[[], Feed], str]] = {
    "a word that is none": (lambda: account_feed(delimeter=";"), "customProperties.delimeter: Extra inputs"),
    "a delimiter that is none": (lambda: account_feed(delimiter=":"), "customProperties.delimiter: Input should be"),
    "separators alike": (
        lambda: account_feed(decimalSeparator=",", thousandsSeparator=","),
        "decimalSeparator and thousandsSeparator are both ,",
    ),
    "a sum of nothing": (lambda: account_feed(controlRecord=CONTROL | {"sumOf": None}), "sum and sumOf, or neither"),
    "a sum of text": (
        lambda: account_feed(controlRecord=CONTROL | {"sumOf": "account_id"}),
        "sumOf, account_id, is no column of type number",
    ),
    "a pattern that is none": (lambda: account_feed({ID: pattern("[0-9")}), "the pattern of account_id: "),
    "another list": (lambda: account_feed({ID: {"customProperties": {"history": True}}}), "`property` and `value`"),
}


@pytest.mark.parametrize(("make", "said"), BREACHES.values(), ids=BREACHES.keys())
def test_a_format_that_does_not_fit_is_named(make: Callable[[], Feed], said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        make()
    assert str(caught.value).startswith("feeds/account.yaml: ")
    assert said in str(caught.value)


def _readings() -> Iterator[Feed]:
    yield account_feed()
    yield account_feed(delimiter=";")
    yield account_feed(encoding="cp1252")
    yield account_feed({ID: pattern("[0-9]+")})
    yield account_feed({ID: leading_zeros("strip")})
    yield account_feed(controlRecord=CONTROL)


def test_the_ledger_tells_each_way_of_reading_a_file_from_the_others() -> None:
    readings = [feed.reading("utf-8") for feed in _readings()]
    assert readings[0] == "utf-8"
    assert len(set(readings)) == len(readings)
