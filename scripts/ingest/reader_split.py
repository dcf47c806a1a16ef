"""Splits a feed file: its sound records go to one file, all ended by LF, and each damaged one is cut out.

The grammar is that of RFC 4180, as Python's `csv` module reads it with `strict=True`: a quote opens a field only as the
field's first character, is doubled inside it, and the quote that closes it is followed by a delimiter or a line end.
LF, CR LF and a lone CR all end a line. An escape, where the feed declares one, takes away the meaning of the character
behind it. Plain lines, in which nothing needs the grammar, are found by counting their delimiters; all others go
through `csv.reader`.

A quote that is never closed would swallow all that follows. So of a damaged record that takes up several lines only the
first line is rejected, and reading goes on with the next one, where (1) the quote is not closed within
`MAX_RECORD_BYTES`, (2) the one that closes it looks like the opening of another field, or (3) a later line is a sound
record by itself. Otherwise the record is all of these lines.

What a damaged record still tells is its first field, and that only where (1) a delimiter outside of quotes ends it, for
otherwise it may be cut, and (2) no other record can hide behind it: the damaged one is a single line, read to its end,
with fewer delimiters than two records joined by a lost line end have.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import BinaryIO, NamedTuple

import numpy as np

MAX_RECORD_BYTES = 2_000_000
"""Longest record, its line end included."""

READ_BYTES = 1 << 22

# Short, for after a damaged record those that were read beyond it are read again.
_RUN_BYTES = 1 << 16

# csv.reader wants text. Latin-1 gives each byte a character of its own, and the grammar knows ASCII characters only.
_BYTEWISE = "latin-1"
_LINE_END = re.compile(rb"\r\n?|\n")

csv.field_size_limit(MAX_RECORD_BYTES)


@dataclass(frozen=True)
class Grammar:
    """How the records of a file are written: `field_count` (at least 2) fields in a sound one, `delimiter` and `escape`
    (an ASCII character each; '' for no escape), and for each field `refused` texts that it must not hold (white space
    and all), none where all may stand."""

    field_count: int
    delimiter: str = ","
    escape: str = ""
    refused: tuple[frozenset[str], ...] = ()

    def records(self, lines: Iterable[str]) -> Iterator[list[str]]:
        """The records of bytewise text; raises `csv.Error` at one with broken quoting."""
        return iter(csv.reader(lines, strict=True, delimiter=self.delimiter, escapechar=self.escape or None))

    def judged(self, fields: list[str]) -> tuple[str | None, str]:
        """Reason and detail for a record with proper quoting, of which an empty line has no fields."""
        found, expected = len(fields), self.field_count
        if found not in (0, expected):
            reason = "too_few_fields" if found < expected else "too_many_fields"
            return reason, f"{expected} fields expected, {found} found"
        wrong = [place for place, texts in enumerate(self.refused, 1) if fields and _text(fields[place - 1]) in texts]
        return ("wrong_form", f"field {wrong[0]} is not of the form that is declared") if wrong else (None, "")

    @cached_property
    def first_field(self) -> re.Pattern[bytes]:
        """A first field that is told for sure: one that a delimiter ends, and that holds no escape."""
        # Of \ and [ none is a delimiter: all can stand in brackets.
        plain = f"[^{self._escape}{self.delimiter}]"
        quoted = f'[^"{self._escape}]'
        return re.compile(f'(?:"({quoted}*(?:""{quoted}*)*)"|((?!"){plain}{plain}*))[{self.delimiter}]'.encode())

    @cached_property
    def sound_record(self) -> re.Pattern[bytes]:
        """A record that a line is by itself."""
        # No quote in a field without quotes: a line that continues a quoted field does not pass for a record by itself.
        quoted = f'[^"{self._escape}]'
        doubled = f'(?:""|{self._escape}.)' if self.escape else '""'
        field = f'(?:"{quoted}*(?:{doubled}{quoted}*)*"|[^"{self._escape}{self.delimiter}\\r\\n]*)'
        return re.compile(f"[{self.delimiter}]".join([field] * self.field_count).encode() + rb"(?:[\r\n]|\Z)")

    @cached_property
    def opening_quote(self) -> re.Pattern[bytes]:
        """A line up to a quote that looks like one that opens a field."""
        return re.compile(f'(?:[^"]*[{self.delimiter}])? *"'.encode())

    @property
    def _escape(self) -> str:
        return re.escape(self.escape)


@dataclass(frozen=True)
class Record:
    """One record, or what is left of it: where it ends, without the line end and with it, the physical lines that it
    takes up, its values, unquoted (none where the quoting is broken), the code of its damage, None for a sound record,
    and the damage in words."""

    end: int
    next_position: int
    line_count: int = 1
    fields: tuple[bytes, ...] = ()
    reason: str | None = None
    detail: str = ""


class DamagedRecord(NamedTuple):
    """A record that was cut out: the physical line on which it starts (from 1 in the file), its text without the line
    end, of a longer one than `MAX_RECORD_BYTES` the beginning, its first field, unquoted (None where that can't be
    told), and how many physical lines it takes up."""

    line_number: int
    reason: str
    detail: str
    raw_text: str
    first_field: str | None = None
    line_count: int = 1


@dataclass
class _Lines(Iterator[str]):
    """The physical lines from a position on that end within `MAX_RECORD_BYTES`, for `csv.reader`; `starts` has where
    those start that were taken so far, and the next one."""

    data: bytes
    starts: list[int]
    is_exhausted: bool = False

    def __next__(self) -> str:
        start = self.starts[-1]
        _, end = _line_end(self.data, start)
        if start == len(self.data) or end > self.starts[0] + MAX_RECORD_BYTES:
            self.is_exhausted = True
            raise StopIteration
        self.starts.append(end)
        return self.data[start:end].decode(_BYTEWISE)


def read_record(data: bytes, start: int, grammar: Grammar) -> Record:
    """The record that starts at `start`, which is before the end of `data`."""
    lines = _Lines(data, [start])
    try:
        fields = next(grammar.records(lines))
        reason, detail = grammar.judged(fields)
    except StopIteration:
        return Record(*_line_end(data, start), reason="line_too_long")
    except csv.Error:
        if lines.is_exhausted or (len(lines.starts) > 2 and grammar.opening_quote.match(data, lines.starts[-2])):
            return _not_closed(data, start)
        fields, reason, detail = [], "broken_quoting", "text follows the quote that closes a field"
    # One of the lines after the first is a sound record by itself.
    if reason and any(grammar.sound_record.match(data, *border) for border in pairwise(lines.starts[1:])):
        return _not_closed(data, start)
    values = tuple(field.encode(_BYTEWISE) for field in fields)
    return Record(*_line_end(data, lines.starts[-2]), len(lines.starts) - 1, values, reason, detail)


def _not_closed(data: bytes, start: int) -> Record:
    return Record(*_line_end(data, start), reason="broken_quoting", detail="a quote that opens a field is not closed")


def _line_end(data: bytes, start: int) -> tuple[int, int]:
    """Where the line of `start` ends, without its line end and with it."""
    match = _LINE_END.search(data, start)
    return match.span() if match else (len(data), len(data))


def split_damaged(source: BinaryIO, grammar: Grammar, first_line: int, sound: BinaryIO) -> Iterator[DamagedRecord]:
    """Copy the sound records (and empty lines) of `source` (UTF-8, from the first line after the header on, which has
    the number `first_line`) to `sound`, a missing final line end added; yield the others in the order of the file."""
    return _Split(source, grammar, sound, first_line).run()


def has_plain_lines_only(source: BinaryIO, grammar: Grammar) -> bool:
    """True if every line of `source` is a record in which nothing needs the grammar."""
    rest = b""
    while piece := source.read(READ_BYTES):
        data = rest + piece
        end = _last_line_end(data)
        if len(data) - end > MAX_RECORD_BYTES or _odd_stretches(data, 0, end, grammar):
            return False
        rest = data[end:]
    return not _odd_stretches(rest, 0, len(rest), grammar)


@dataclass
class _Split:
    """State: `data` from `position` on is still to be split, and `source` after it. `long_line` is, of a line that goes
    on beyond `data` and is too long, its number, its beginning, and its bytes so far."""

    source: BinaryIO
    grammar: Grammar
    sound: BinaryIO
    line_number: int
    data: bytes = b""
    position: int = 0
    is_last: bool = False
    long_line: tuple[int, str, int] | None = None

    def run(self) -> Iterator[DamagedRecord]:
        while not self.is_last:
            piece = self.source.read(READ_BYTES)
            self.data, self.position, self.is_last = self.data[self.position :] + piece, 0, not piece
            yield from self._skip_long_line()
            end = len(self.data)
            if not self.is_last:
                # A record that begins before it is read to its end.
                end = _last_line_end(self.data[: max(0, end - MAX_RECORD_BYTES)])
            for begin, stop in _odd_stretches(self.data, self.position, end, self.grammar):
                self._take_plain_lines(begin)
                while self.position < stop:
                    self._take_sound_records(stop)
                    if self.position < stop:
                        yield from self._take_record()
            self._take_plain_lines(end)

    def _skip_long_line(self) -> Iterator[DamagedRecord]:
        """Go on to the end of a line of which only the beginning is kept; where the data end before it, to theirs."""
        if self.long_line is None:
            return
        line_number, text, size = self.long_line
        end, next_position = _line_end(self.data, self.position)
        size += end - self.position
        if next_position == len(self.data) and not self.is_last:
            self.position, self.long_line = end, (line_number, text, size)
            return
        self.position, self.long_line = next_position, None
        detail = f"the line has {size} bytes, at most {MAX_RECORD_BYTES} are read; raw_text is its beginning"
        yield DamagedRecord(line_number, "line_too_long", detail, text)

    def _take_plain_lines(self, end: int) -> None:
        if end <= self.position:
            return
        text = self.data[self.position : end].replace(b"\r\n", b"\n")
        if not text.endswith(b"\n"):
            text += b"\n"
        self.sound.write(text)
        self.position = end
        self.line_number += text.count(b"\n")

    def _take_sound_records(self, end: int) -> None:
        """The next records, up to the first one that is damaged or goes on beyond `end`."""
        text = self.data[self.position : min(end, self.position + _RUN_BYTES)]
        if self.position + len(text) < end:
            text = text[: _last_line_end(text)]
        lines = _text_lines(text)
        size = 0
        with suppress(csv.Error):
            for fields in self.grammar.records(lines):
                if self.grammar.judged(fields)[0]:
                    break
                size = lines.tell()
        text = text[:size]
        self.position += size
        self.line_number += text.count(b"\n") + text.count(b"\r") - text.count(b"\r\n")
        # DuckDB 1.5 loses rows, or raises, where line ends are mixed, and takes a quote after leading spaces for one
        # that opens a field.
        misread = (b"\r", b' "', (self.grammar.escape or "\r").encode())
        is_misread = any(sign in text for sign in misread) or not text.endswith(b"\n")
        self.sound.write(self._quoted_anew(text) if is_misread else text)

    def _take_record(self) -> Iterator[DamagedRecord]:
        start, line_number = self.position, self.line_number
        record = read_record(self.data, start, self.grammar)
        self.position, self.line_number = record.next_position, line_number + record.line_count
        raw = self.data[start : record.end]
        if record.reason is None:
            self.sound.write(self._quoted_anew(self.data[start : record.next_position]))
        elif record.reason == "line_too_long":
            text = raw[:MAX_RECORD_BYTES].decode("utf-8", "ignore")
            self.position, self.long_line = start, (line_number, text, 0)
            yield from self._skip_long_line()
        else:
            first_field = self._first_field(raw) if record.line_count == 1 else None
            yield DamagedRecord(line_number, record.reason, record.detail, raw.decode(), first_field, record.line_count)

    def _quoted_anew(self, records: bytes) -> bytes:
        """The same records with each field in quotes, LF after each, and no escapes."""
        text = io.StringIO(newline="")
        writer = csv.writer(text, delimiter=self.grammar.delimiter, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerows(self.grammar.records(_text_lines(records)))
        return text.getvalue().encode(_BYTEWISE)

    def _first_field(self, line: bytes) -> str | None:
        match = self.grammar.first_field.match(line)
        if match is None or line.count(self.grammar.delimiter.encode()) >= 2 * (self.grammar.field_count - 1):
            return None
        quoted, plain = match.groups()
        first = (plain if quoted is None else quoted.replace(b'""', b'"')).decode()
        return None if first in (self.grammar.refused or (frozenset(),))[0] else first


def _text(bytewise: str) -> str:
    return bytewise.encode(_BYTEWISE).decode()


def _text_lines(data: bytes) -> io.StringIO:
    """Lines for `csv.reader`, with the ends that they have."""
    return io.StringIO(data.decode(_BYTEWISE), newline="")


def _last_line_end(data: bytes) -> int:
    """Where the last whole line of `data` ends. A CR at the end may be half of a CR LF."""
    return max(data.rfind(b"\n"), data.rfind(b"\r", 0, -1)) + 1


def _odd_stretches(data: bytes, start: int, end: int, grammar: Grammar) -> list[tuple[int, int]]:
    """Where lines stand between `start` and `end` that are not plain: begin and end of each run of them, in order. A
    plain line is a sound record by itself: it holds no quote, escape or lone CR, has as many delimiters as a record,
    and what it may hold does not matter."""
    text = data[start:end]
    if not text:
        return []
    if grammar.refused or text.count(b"\r") != text.count(b"\r\n"):
        return [(start, end)]
    array = np.frombuffer(text, np.uint8)
    borders = np.concatenate(([0], np.flatnonzero(array == 0x0A) + 1))
    if not text.endswith(b"\n"):
        borders = np.append(borders, len(text))
    delimiters = np.diff(np.searchsorted(np.flatnonzero(array == ord(grammar.delimiter)), borders))
    is_odd = (delimiters != grammar.field_count - 1) | (np.diff(borders) > MAX_RECORD_BYTES)
    for special in f'"{grammar.escape}':
        is_odd[np.searchsorted(borders, np.flatnonzero(array == ord(special)), side="right") - 1] = True
    changes = np.flatnonzero(np.diff(is_odd, prepend=False, append=False))
    return [(begin, stop) for begin, stop in (borders[changes].reshape(-1, 2) + start).tolist()]
