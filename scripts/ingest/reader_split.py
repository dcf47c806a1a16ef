"""Splits a feed file: its sound records go to one file, all ended by LF, and each damaged one is cut out.

The grammar is that of RFC 4180, as Python's `csv` module reads it with `strict=True`: a quote opens a field only as the
field's first character, is doubled inside it, and the quote that closes it is followed by a comma or a line end. LF,
CR LF and a lone CR all end a line. Runs of plain lines, in which nothing needs the grammar, are found by counting their
commas; one regular expression swallows runs of sound records among the rest, so that Python steps in at the damaged
ones only.

A quote that is never closed would swallow all that follows. So of a damaged record that takes up several lines only the
first line is rejected, and reading goes on with the next one, where (1) the quote is not closed within
`MAX_RECORD_BYTES`, (2) the one that closes it looks like the opening of another field, or (3) a later line is a sound
record by itself. Otherwise the record is all of these lines.

What a damaged record still tells is its first field, and that only where (1) a comma outside of quotes ends it, for
otherwise it may be cut, and (2) no other record can hide behind it: the damaged one is a single line, read to its end,
with fewer commas than two records joined by a lost line end have.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

MAX_RECORD_BYTES = 2_000_000
"""Longest record, its line end included."""

READ_BYTES = 1 << 22

# Short, for beyond a line that is not plain most often plain ones follow.
_RUN_LINES = 64

_LINE_END = re.compile(rb"\r\n?|\n")
_QUOTED = re.compile(rb'"(?:[^"]++|"")*+"')
_UNQUOTED = re.compile(rb"[^,\r\n]*+")
# DuckDB takes a quote after leading spaces for an opening one. Such a field is no part of a run; it is quoted anew.
_PLAIN = rb' *+(?:[^ ",\r\n][^,\r\n]*+)?+'
_FIELD = rb'(?:"(?:[^"]++|"")*+"|' + _PLAIN + rb")"
_SPOTLESS_FIELD = rb'(?:"(?:[^"]++|"")*+"|[^",\r\n]*+)'
_FIRST_FIELD = re.compile(rb'(?:"((?:[^"]++|"")*+)"|([^",][^,]*+)),')


@dataclass(frozen=True)
class Record:
    """One record, or what is left of it.

    Attributes:
        end: Position after its last byte, without the line end; `next_position`: with it.
        fields: Its values, unquoted. Empty when the quoting is broken.
        reason: Code of the damage, None for a sound record; `detail` says it in words.
    """

    end: int
    next_position: int
    fields: tuple[bytes, ...] = ()
    reason: str | None = None
    detail: str = ""


@dataclass(frozen=True)
class DamagedRecord:
    """A record that was cut out.

    Attributes:
        line_number: Physical line on which it starts, from 1 in the file.
        line_count: Physical lines that it takes up.
        raw_text: Its text without the line end; the beginning only when it is longer than `MAX_RECORD_BYTES`.
        first_field: Its first field, unquoted; None where that can't be told.
    """

    line_number: int
    line_count: int
    reason: str
    detail: str
    raw_text: str
    first_field: str | None = None


class RecordReader:
    """Reads single records of `field_count` fields from a buffer."""

    def __init__(self, field_count: int, is_last: bool) -> None:
        self._field_count = field_count
        self.is_last = is_last
        """The buffer's end is the file's end."""
        self._spotless_line = re.compile(_SPOTLESS_FIELD + (rb"," + _SPOTLESS_FIELD) * (field_count - 1))

    def read(self, buffer: bytes, start: int) -> Record | None:
        """The record that starts at `start`; None if it may go on beyond the buffer."""
        limit = start + MAX_RECORD_BYTES
        stop = min(len(buffer), limit)
        is_end_of_file = self.is_last and stop == len(buffer)
        values: list[bytes] = []
        position = start
        while True:
            is_quoted = buffer.startswith(b'"', position)
            match = (_QUOTED if is_quoted else _UNQUOTED).match(buffer, position, stop)
            if match is None:
                if is_end_of_file or stop == limit:
                    return self._first_line(buffer, start, _not_closed(len(values) + 1))
                return None
            position = match.end()
            if position == stop and not is_end_of_file:
                if stop < limit:
                    return None
                return self._first_line(buffer, start, f"field {len(values) + 1} does not end")
            values.append(match[0][1:-1].replace(b'""', b'"') if is_quoted else match[0])
            if position == len(buffer) or buffer[position] in b"\r\n":
                return self._judged(buffer, start, position, values)
            if buffer[position] != 0x2C:
                return self._broken(buffer, start, position, len(values))
            position += 1

    def _judged(self, buffer: bytes, start: int, end: int, values: list[bytes]) -> Record | None:
        """A record with proper quoting: sound, if the number of its fields is right."""
        found, expected = len(values), self._field_count
        if found == expected or end == start:
            return self._ended(buffer, end, None, "", tuple(values))
        if self._hides_record(buffer, start, end):
            return self._first_line(buffer, start, "a quote on this line is not closed")
        reason = "too_few_fields" if found < expected else "too_many_fields"
        return self._ended(buffer, end, reason, f"{expected} fields expected, {found} found", tuple(values))

    def _broken(self, buffer: bytes, start: int, position: int, field_number: int) -> Record | None:
        """The quote that closes a field stands before `position`, where neither a comma nor a line end follows."""
        detail = f"text follows the quote that closes field {field_number}"
        first_end = _LINE_END.search(buffer, start)
        if first_end is None or first_end.start() >= position:
            return self._first_line(buffer, start, detail)
        last_end = _LINE_END.search(buffer, position)
        end = last_end.start() if last_end else len(buffer)
        if last_end is None and not self.is_last and end - start <= MAX_RECORD_BYTES:
            return None
        is_opening = buffer[start : position - 1].rstrip(b" ").endswith((b",", b"\r", b"\n"))
        if is_opening or end - start > MAX_RECORD_BYTES or self._hides_record(buffer, start, end):
            return self._first_line(buffer, start, _not_closed(field_number))
        return self._ended(buffer, end, "broken_quoting", detail)

    def _hides_record(self, buffer: bytes, start: int, end: int) -> bool:
        """True if one of the lines after the first is a sound record by itself."""
        lines = _LINE_END.split(buffer[start:end])
        return any(self._spotless_line.fullmatch(line) for line in lines[1:])

    def _first_line(self, buffer: bytes, start: int, detail: str) -> Record | None:
        match = _LINE_END.search(buffer, start)
        end = match.start() if match else len(buffer)
        if end - start >= MAX_RECORD_BYTES:
            return Record(end, _after_line_end(buffer, end), reason="line_too_long")
        if match is None and not self.is_last:
            return None
        return self._ended(buffer, end, "broken_quoting", detail)

    def _ended(
        self, buffer: bytes, end: int, reason: str | None, detail: str, values: tuple[bytes, ...] = ()
    ) -> Record | None:
        next_position = _after_line_end(buffer, end)
        if next_position == len(buffer) and buffer.endswith(b"\r") and not self.is_last:
            return None  # an LF may follow
        return Record(end, next_position, values, reason, detail)


def _not_closed(field_number: int) -> str:
    return f"the quote that opens field {field_number} is not closed"


def _after_line_end(buffer: bytes, end: int) -> int:
    match = _LINE_END.match(buffer, end)
    return match.end() if match else end


def _line_ends(text: bytes) -> int:
    return text.count(b"\n") + text.count(b"\r") - text.count(b"\r\n")


def split_damaged(source: BinaryIO, field_count: int, first_line: int, sound: BinaryIO) -> Iterator[DamagedRecord]:
    """Copy the sound records (and empty lines) of `source` to `sound`; yield the others in the order of the file.

    Args:
        source: The text from the first line after the header on, in UTF-8.
        field_count: Fields of a sound record, at least 2.
        first_line: Number of the line with which `source` starts.

    `sound` gets whole lines only: a missing final line end is added.
    """
    line = rb"(?:" + _FIELD + (rb"," + _FIELD) * (field_count - 1) + rb")?+"
    run = re.compile(rb"(?:" + line + rb"(?:\r\n?|\n)){0,%d}+" % _RUN_LINES)
    ended_line = re.compile(rb"(" + line + rb")(?:\r\n?|\n)")
    reader = RecordReader(field_count, is_last=False)
    buffer, position, line_number = b"", 0, first_line
    odd_lines: list[int] = []
    while True:
        plain_end = odd_lines[bisect_left(odd_lines, position)] if odd_lines else position
        if plain_end > position:
            text = buffer[position:plain_end]
            sound.write(text.replace(b"\r\n", b"\n"))
            line_number += text.count(b"\n")
            position = plain_end
        match = run.match(buffer, position, min(len(buffer), position + MAX_RECORD_BYTES))
        end = match.end() if match else position
        if end > position:
            if buffer.endswith(b"\r", position, end):
                if end == len(buffer) and not reader.is_last:
                    end = -1
                elif buffer.startswith(b"\n", end):
                    end += 1
            if end > 0:
                text = buffer[position:end]
                sound.write(_ended_by_line_feed(text, ended_line))
                line_number += _line_ends(text)
                position = end
                continue
        if position == len(buffer) and reader.is_last:
            return
        record = reader.read(buffer, position) if end >= 0 else None
        if record is None:
            piece = source.read(READ_BYTES)
            reader.is_last = not piece
            buffer, position = buffer[position:] + piece, 0
            odd_lines = _odd_lines(buffer, field_count)
            continue
        raw = buffer[position : record.end]
        line_count = 1 + _line_ends(raw)
        if record.reason is None:
            sound.write(_quoted_anew(record.fields) + b"\n")
        elif record.reason == "line_too_long":
            buffer, next_position, size = _skip_line(source, reader, buffer, position)
            odd_lines = _odd_lines(buffer, field_count)
            detail = f"the line has {size} bytes, at most {MAX_RECORD_BYTES} are read; raw_text is its beginning"
            text_start = raw[:MAX_RECORD_BYTES].decode("utf-8", "ignore")
            yield DamagedRecord(line_number, 1, record.reason, detail, text_start)
            position, line_number = next_position, line_number + 1
            continue
        else:
            first_field = _first_field(raw, field_count) if line_count == 1 else None
            yield DamagedRecord(line_number, line_count, record.reason, record.detail, raw.decode(), first_field)
        position, line_number = record.next_position, line_number + line_count


def _first_field(line: bytes, field_count: int) -> str | None:
    match = _FIRST_FIELD.match(line)
    if match is None or line.count(b",") >= 2 * (field_count - 1):
        return None
    quoted, plain = match.groups()
    return (plain if quoted is None else quoted.replace(b'""', b'"')).decode()


def _odd_lines(buffer: bytes, field_count: int) -> list[int]:
    """Where the lines start that are not plain, in order, and the end of the buffer; empty if it holds a lone CR.

    A plain line is a sound record by itself: it holds no quote, has as many commas as a record, and is ended.
    """
    if buffer.count(b"\r") != buffer.count(b"\r\n"):
        return []
    array = np.frombuffer(buffer, np.uint8)
    ends = np.flatnonzero(array == 0x0A) + 1
    starts = np.concatenate(([0], ends))
    commas = np.searchsorted(np.flatnonzero(array == 0x2C), starts)
    is_plain = np.zeros(len(starts), bool)
    is_plain[:-1] = (np.diff(commas) == field_count - 1) & (np.diff(starts) <= MAX_RECORD_BYTES)
    is_plain[np.searchsorted(ends, np.flatnonzero(array == 0x22), side="right")] = False
    return [*starts[~is_plain].tolist(), len(buffer)]


def _skip_line(source: BinaryIO, reader: RecordReader, buffer: bytes, position: int) -> tuple[bytes, int, int]:
    """Read on, piece by piece, to the end of the line at `position`. Returns buffer, next position, line's bytes."""
    size = 0
    while True:
        match = _LINE_END.search(buffer, position)
        is_cut = match is not None and match.end() == len(buffer) and match[0] == b"\r" and not reader.is_last
        if match is not None and not is_cut:
            return buffer, match.end(), size + match.start() - position
        if reader.is_last:
            return buffer, len(buffer), size + len(buffer) - position
        kept = b"\r" if is_cut else b""
        size += len(buffer) - position - len(kept)
        piece = source.read(READ_BYTES)
        reader.is_last = not piece
        buffer, position = kept + piece, 0


def _ended_by_line_feed(text: bytes, ended_line: re.Pattern[bytes]) -> bytes:
    """Sound lines with LF ends: DuckDB 1.5 loses rows, or raises, where the line ends of a file are mixed."""
    if b"\r" not in text:
        return text
    if b'"' not in text:
        return text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return ended_line.sub(rb"\1\n", text)


def _quoted_anew(values: tuple[bytes, ...]) -> bytes:
    """The same record with each field in quotes: for fields that DuckDB would take for something else."""
    if not any(values) and len(values) <= 1:
        return b""
    return b",".join(b'"' + value.replace(b'"', b'""') + b'"' for value in values)
