"""The contract of a feed file: it is there, it is a file, and its header names the columns that were agreed."""

from __future__ import annotations

import difflib
from collections import Counter
from pathlib import Path

from scripts.errors import FeedRefusedError
from scripts.feeds import Feed
from scripts.ingest.reader_scan import FileScan
from scripts.ingest.reader_split import Grammar, Record, read_record
from scripts.sql import PATTERN_CHARACTERS

_LISTED_FILES = 20
# By their first bytes.
_OTHER_FORMATS = {
    b"\x1f\x8b": "compressed by gzip",
    b"PK\x03\x04": "a ZIP archive or an Excel workbook",
    b"PAR1": "a Parquet file",
}
_DELIMITERS = {",": "a comma (,)", ";": "a semicolon (;)", "\t": "a tab", "|": "a vertical bar (|)"}


def check_file(feed: Feed, path: Path) -> None:
    """Raise FeedRefusedError unless `path` is a file that holds bytes, and not those of another format."""
    if path.is_file():
        if "\\" in str(path) and any(character in str(path) for character in PATTERN_CHARACTERS):
            raise FeedRefusedError(
                f"{path} cannot be opened by DuckDB: the path holds a backslash and one of "
                f"{' '.join(PATTERN_CHARACTERS)}. Rename the file or the folder."
            )
        if path.stat().st_size == 0:
            raise FeedRefusedError(f"{path} is empty (0 bytes). Have the {feed.name} feed sent again.")
        with path.open("rb") as source:
            first_bytes = source.read(4)
        for beginning, spoken in _OTHER_FORMATS.items():
            if first_bytes.startswith(beginning):
                raise FeedRefusedError(f"{path} is {spoken}, not text. Put the {feed.name} feed there as a CSV file.")
        return
    if path.is_dir():
        raise FeedRefusedError(f"{path} is a folder; the {feed.name} feed has to be a file of this name.")
    if path.exists():
        raise FeedRefusedError(f"{path} is not an ordinary file. Put the {feed.name} feed there as a CSV file.")
    raise FeedRefusedError(_missing_file(feed, path))


def _missing_file(feed: Feed, path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f"{path} is missing: there is no folder {folder}. Create it and put the {feed.name} feed there."
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_file())
    if not names:
        return f"{path} is missing: {folder} holds no files. Put the {feed.name} feed there as {path.name}."
    by_folded = {name.casefold(): name for name in names}
    close = difflib.get_close_matches(path.name.casefold(), by_folded, n=1, cutoff=0.75)
    hint = f" Is it {by_folded[close[0]]}? Then rename it to {path.name}." if close else ""
    listed = ", ".join(names[:_LISTED_FILES]) + (", …" if len(names) > _LISTED_FILES else "")
    remedy = hint or f" Put the {feed.name} feed there as {path.name}."
    return f"{path} is missing. The folder holds: {listed}.{remedy}"


def read_header(feed: Feed, path: Path, scan: FileScan) -> tuple[tuple[str, ...], bytes]:
    """The feed's columns in the order in which this file holds them, and the header as it stands in the file.

    Names are compared without the white space around them and in any case.

    Raises:
        FeedRefusedError: line 1 does not name each column of the contract once, but for optional ones, and no others.
    """
    grammar = Grammar(len(feed.header), feed.format.delimiter, feed.format.escape)
    record = read_record(scan.head, 0, grammar) if scan.head else Record(0, 0)
    is_ended = record.next_position < len(scan.head) or len(scan.head) == scan.counts.total
    raw = scan.head[: record.next_position]
    text = raw.decode("utf-8", "ignore")
    names = [name.decode() for name in record.fields] if is_ended else []
    expected = {_folded(name): column for name, column in zip(feed.header, feed.columns, strict=True)}
    folded = [_folded(name) for name in names]
    if _missing_columns(feed, folded) or len(set(folded)) < len(folded) or not set(folded) <= set(expected):
        raise _wrong_header(feed, path, text, names, folded, set(expected))
    return tuple(expected[name] for name in folded), raw


def _missing_columns(feed: Feed, folded: list[str]) -> list[str]:
    return [
        header
        for header, column in zip(feed.header, feed.columns, strict=True)
        if column not in feed.optional and _folded(header) not in folded
    ]


def _folded(name: str) -> str:
    return name.strip().casefold()


def _wrong_header(
    feed: Feed, path: Path, text: str, names: list[str], folded: list[str], expected: set[str]
) -> FeedRefusedError:
    agreed = feed.format.delimiter.join(feed.header)
    place = f"{path}, line 1"
    if not text.strip():
        return FeedRefusedError(f"{place} is blank. The header has to stand there: {agreed}.")
    if "\0" in text:
        return FeedRefusedError(
            f"{place} holds NUL characters: the file looks like UTF-16. Have it sent as UTF-8, or set "
            f"FEED_ENCODING=utf-16. The header has to be: {agreed}."
        )
    for delimiter, spoken in _DELIMITERS.items():
        parts = {_folded(part.strip().strip('"')) for part in text.split(delimiter)}
        if delimiter != feed.format.delimiter and len(parts) > 1 and parts & expected and not expected & set(folded):
            return FeedRefusedError(
                f"{place}: the columns are separated by {spoken}, not by {_DELIMITERS[feed.format.delimiter]}. Have it "
                f"sent as: {agreed}. Or declare the `delimiter` in feeds/{feed.name}.yaml."
            )
    if not names:
        return FeedRefusedError(
            f"{place}: the header is not a line of CSV (a quote in it is not closed, or it does not end). "
            f"It has to be: {agreed}."
        )
    # Where the header is missing, line 1 is somebody's data.
    line = repr(text.strip())
    quotes, problems = [line], []
    missing = _missing_columns(feed, folded)
    extra = [name for name in names if _folded(name) not in expected]
    twice = [name for name, count in Counter(folded).items() if count > 1 and name in expected]
    if missing:
        problems.append(f"missing: {', '.join(missing)}")
    if extra:
        listed = ", ".join(name.strip() or "(a column without a name)" for name in extra)
        problems.append(f"not in the contract: {listed}")
        quotes.append(problems[-1])
    # Only where the others are right: else line 1 is more likely a row of data.
    how_to_add = f" A column that is to be taken has to be declared in feeds/{feed.name}.yaml." if not missing else ""
    if twice:
        problems.append("more than once: " + ", ".join(name for name in feed.header if _folded(name) in twice))
    return FeedRefusedError(
        f"{place}: the header is {line} and does not name the agreed columns ({'; '.join(problems)}). "
        f"Have the file sent with exactly these columns, in any order: {agreed}.{how_to_add if extra else ''}",
        quotes=quotes,
    )
