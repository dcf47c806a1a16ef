"""The contract of a feed file: it is there, it is a file, and its header names the columns that were agreed."""

from __future__ import annotations

import difflib
from pathlib import Path

from scripts.errors import FeedRefusedError
from scripts.feeds import Feed
from scripts.ingest.reader_scan import FileScan
from scripts.ingest.reader_split import Grammar, read_record
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
    if path.is_dir():
        raise FeedRefusedError(f"{path} is a folder; the {feed.name} feed has to be a file of this name.")
    if not path.exists():
        raise FeedRefusedError(_missing_file(feed, path))
    if not path.is_file():
        raise FeedRefusedError(f"{path} is not an ordinary file. Put the {feed.name} feed there as a CSV file.")
    if "\\" in str(path) and any(character in str(path) for character in PATTERN_CHARACTERS):
        raise FeedRefusedError(
            f"{path} cannot be opened by DuckDB: the path holds a backslash and one of "
            f"{' '.join(PATTERN_CHARACTERS)}. Rename the file or the folder."
        )
    with path.open("rb") as source:
        first_bytes = source.read(4)
    if not first_bytes:
        raise FeedRefusedError(f"{path} is empty (0 bytes). Have the {feed.name} feed sent again.")
    for beginning, spoken in _OTHER_FORMATS.items():
        if first_bytes.startswith(beginning):
            raise FeedRefusedError(f"{path} is {spoken}, not text. Put the {feed.name} feed there as a CSV file.")


def _missing_file(feed: Feed, path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f"{path} is missing: there is no folder {folder}. Create it and put the {feed.name} feed there."
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_file())
    if not names:
        return f"{path} is missing: {folder} holds no files. Put the {feed.name} feed there as {path.name}."
    by_folded = {name.casefold(): name for name in names}
    close = difflib.get_close_matches(path.name.casefold(), by_folded, n=1, cutoff=0.75)
    similar = f"Is it {by_folded[close[0]]}? Then rename it to {path.name}." if close else ""
    listed = ", ".join(names[:_LISTED_FILES]) + (", …" if len(names) > _LISTED_FILES else "")
    remedy = similar or f"Put the {feed.name} feed there as {path.name}."
    return f"{path} is missing. The folder holds: {listed}. {remedy}"


def read_header(scan: FileScan) -> tuple[tuple[str, ...], bytes]:
    """The feed's columns in the order in which this file holds them, and the header as it stands in the file.

    Names are compared without the white space around them and in any case. Raises FeedRefusedError where line 1 does
    not name each column of the contract once, but for optional ones, and no others.
    """
    feed, head = scan.feed, scan.head
    grammar = Grammar(len(feed.header), feed.format.delimiter, feed.format.escape)
    record = read_record(head, 0, grammar)
    is_ended = record.next_position < len(head) or len(head) == scan.counts.total
    raw = head[: record.next_position]
    names = [name.decode() for name in record.fields] if is_ended else []
    folded = [_folded(name) for name in names]
    declared = {_folded(column.header): column for column in feed.declared}
    missing = [column.header for name, column in declared.items() if column.is_required and name not in folded]
    extra = [name for name in names if _folded(name) not in declared]
    twice = [column.header for name, column in declared.items() if folded.count(name) > 1]
    if not (missing or extra or twice):
        return tuple(declared[name].name for name in folded), raw
    text = raw.decode("utf-8", "ignore")
    agreed = feed.format.delimiter.join(feed.header)
    _refuse_what_is_no_header(scan, text, names, set(declared), agreed)
    listed = ", ".join(name.strip() or "(a column without a name)" for name in extra)
    problems = {"missing": ", ".join(missing), "not in the contract": listed, "more than once": ", ".join(twice)}
    # Only where the others are right: else line 1 is more likely a row of data.
    how_to_add = f" A column that is to be taken has to be declared in feeds/{feed.name}.yaml."
    # Where the header is missing, line 1 is somebody's data.
    line = repr(text.strip())
    raise FeedRefusedError(
        f"{scan.path}, line 1: the header is {line} and does not name the agreed columns "
        f"({'; '.join(f'{problem}: {columns}' for problem, columns in problems.items() if columns)}). Have the file "
        f"sent with exactly these columns, in any order: {agreed}.{how_to_add if extra and not missing else ''}",
        quotes=[line, f"not in the contract: {listed}"],
    )


def _folded(name: str) -> str:
    return name.strip().casefold()


def _refuse_what_is_no_header(scan: FileScan, text: str, names: list[str], declared: set[str], agreed: str) -> None:
    """Refuses a line 1 that is no list of names, as far as can be told, or one that is separated otherwise."""
    feed, place = scan.feed, f"{scan.path}, line 1"
    if not text.strip():
        raise FeedRefusedError(f"{place} is blank. The header has to stand there: {agreed}.")
    if "\0" in text:
        raise FeedRefusedError(
            f"{place} holds NUL characters: the file looks like UTF-16. Have it sent as UTF-8, or set "
            f"FEED_ENCODING=utf-16. The header has to be: {agreed}."
        )
    for delimiter, spoken in _DELIMITERS.items():
        parts = {_folded(part.strip().strip('"')) for part in text.split(delimiter)}
        is_other = delimiter != feed.format.delimiter and len(parts) > 1 and parts & declared
        if is_other and declared.isdisjoint(map(_folded, names)):
            raise FeedRefusedError(
                f"{place}: the columns are separated by {spoken}, not by {_DELIMITERS[feed.format.delimiter]}. Have it "
                f"sent as: {agreed}. Or declare the `delimiter` in feeds/{feed.name}.yaml."
            )
    if not names:
        raise FeedRefusedError(
            f"{place}: the header is not a line of CSV (a quote in it is not closed, or it does not end). "
            f"It has to be: {agreed}."
        )
