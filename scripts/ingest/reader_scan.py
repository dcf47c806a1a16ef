"""One pass over the bytes of a feed file: checksum, encoding, and the counts that its rows are checked against."""

from __future__ import annotations

import codecs
import hashlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import BinaryIO

import numpy as np

from scripts.errors import FeedRefusedError

ENCODINGS = {"utf-8": "utf-8", "utf-16": "utf-16", "cp1252": "cp1252", "iso8859-1": "latin-1"}
"""Encodings a feed may have: Python's name of the codec, and the value of FEED_ENCODING that stands for it."""

_TAKES_ANY_BYTE = ("cp1252", "iso8859-1")
"""Encodings in which the bytes of UTF-8 are text, too, of other letters."""

CHUNK_BYTES = 1 << 18
HEAD_BYTES = 1 << 20

BYTE_ORDER_MARK = codecs.BOM_UTF8
_LINE_FEED, _CARRIAGE_RETURN, _QUOTE = b'\n\r"'


@dataclass(frozen=True)
class ByteCounts:
    """What a stretch of CSV text consists of.

    Attributes:
        total: Bytes in all.
        delimiters: Delimiters, inside quotes or not.
        quotes: Quote characters.
        line_feeds: LF bytes; `carriage_returns`: CR bytes; `pairs`: CR LF in sequence.
        empty_lines: Lines without a byte in them (inside quotes or not).
        unfinished_lines: 1 if the text does not end with a line end, else 0.
    """

    total: int = 0
    delimiters: int = 0
    quotes: int = 0
    line_feeds: int = 0
    carriage_returns: int = 0
    pairs: int = 0
    empty_lines: int = 0
    unfinished_lines: int = 0

    def __sub__(self, other: ByteCounts) -> ByteCounts:
        return ByteCounts(*(getattr(self, item.name) - getattr(other, item.name) for item in fields(self)))

    @property
    def line_ends(self) -> int:
        """Line ends, where LF, CR LF and a lone CR each end a line."""
        return self.line_feeds + self.carriage_returns - self.pairs

    @property
    def lines(self) -> int:
        """Physical lines."""
        return self.line_ends + self.unfinished_lines

    @property
    def content_bytes(self) -> int:
        """Bytes that are neither delimiter nor quote nor line end: none of them is ever markup."""
        return self.total - self.delimiters - self.quotes - self.line_feeds - self.carriage_returns


class ByteCounter:
    """Counts text that arrives in pieces."""

    def __init__(self, delimiter: str) -> None:
        self._delimiter = ord(delimiter)
        self._sums = ByteCounts()
        self._last = -1

    def add(self, piece: bytes) -> None:
        """Count the next piece of the text."""
        if not piece:
            return
        array = np.frombuffer(piece, np.uint8)
        is_line_feed = array == _LINE_FEED
        carriage_returns, pairs, last = piece.count(b"\r"), 0, self._last
        is_end = is_line_feed
        if carriage_returns:
            is_carriage_return = array == _CARRIAGE_RETURN
            is_end = is_line_feed | is_carriage_return
            pairs = int(np.count_nonzero(is_line_feed[1:] & is_carriage_return[:-1]))
        pairs += int(last == _CARRIAGE_RETURN and piece[0] == _LINE_FEED)
        neighbours = int(np.count_nonzero(is_end[1:] & is_end[:-1]))
        neighbours += int(last in (-1, _LINE_FEED, _CARRIAGE_RETURN) and bool(is_end[0]))
        line_feeds = int(np.count_nonzero(is_line_feed))
        sums = self._sums
        self._sums = ByteCounts(
            total=sums.total + len(piece),
            delimiters=sums.delimiters + int(np.count_nonzero(array == self._delimiter)),
            quotes=sums.quotes + int(np.count_nonzero(array == _QUOTE)),
            line_feeds=sums.line_feeds + line_feeds,
            carriage_returns=sums.carriage_returns + carriage_returns,
            pairs=sums.pairs + pairs,
            empty_lines=sums.empty_lines + neighbours - pairs,
        )
        self._last = piece[-1]

    @property
    def counts(self) -> ByteCounts:
        """Counts of what was added so far."""
        is_unfinished = self._last not in (-1, _LINE_FEED, _CARRIAGE_RETURN)
        return ByteCounts(**{**vars(self._sums), "unfinished_lines": int(is_unfinished)})


@dataclass(frozen=True)
class FileScan:
    """A feed file as one pass over its bytes saw it.

    Attributes:
        sha256: Hex digest of the file as received.
        byte_count: Size of the file as received.
        text_path: File that holds the text in UTF-8: the feed file itself, or its copy if it has another encoding.
        text_offset: Bytes of `text_path` before the text (a byte order mark).
        head: The text's first bytes, at most `HEAD_BYTES`.
        counts: Counts of the whole text, header included.
    """

    sha256: str
    byte_count: int
    text_path: Path
    text_offset: int
    head: bytes
    counts: ByteCounts


def encoding_name(encoding: str) -> str:
    """The codec for a value of FEED_ENCODING. Raises FeedRefusedError, with the list, for one that is not supported."""
    try:
        name = codecs.lookup(encoding).name
    except LookupError:
        name = ""
    if name not in ENCODINGS:
        choices = ", ".join(ENCODINGS.values())
        raise FeedRefusedError(f"FEED_ENCODING is '{encoding}', which is not supported. Set it to one of: {choices}.")
    return name


def scan_file(path: Path, encoding: str, delimiter: str, copy_path: Path) -> FileScan:
    """Read the file once. A file that is not UTF-8 is written to `copy_path` in UTF-8 on the way.

    Args:
        encoding: A name from `encoding_name`.

    Raises:
        FeedRefusedError: the bytes are not text in this encoding (names the line and the byte offset, from 0), or are
            UTF-8 and would be other letters in it.
        OSError: the file cannot be read.
    """
    if encoding in _TAKES_ANY_BYTE and _is_utf_8_beyond_ascii(path):
        raise FeedRefusedError(
            f"{path} is UTF-8 text, of which FEED_ENCODING={ENCODINGS[encoding]} would make other letters. Set "
            "FEED_ENCODING=utf-8, or take the setting away."
        )
    if encoding != "utf-8":
        with path.open("rb") as source, copy_path.open("wb") as copy:
            return _scan(source, path, encoding, ByteCounter(delimiter), copy, copy_path)
    with path.open("rb") as source:
        return _scan(source, path, encoding, ByteCounter(delimiter), None, path)


def _is_utf_8_beyond_ascii(path: Path) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    is_ascii = True
    try:
        with path.open("rb") as source:
            while received := source.read(CHUNK_BYTES):
                is_ascii = is_ascii and received.isascii()
                decoder.decode(received)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return not is_ascii


def _scan(
    source: BinaryIO, path: Path, encoding: str, counter: ByteCounter, copy: BinaryIO | None, text_path: Path
) -> FileScan:
    digest = hashlib.sha256()
    decoder = codecs.getincrementaldecoder(encoding)()
    head = b""
    byte_count = text_offset = 0
    pending = 0  # bytes of an unfinished character that the decoder holds from the piece before
    while True:
        received = source.read(CHUNK_BYTES)
        digest.update(received)
        piece = received
        if copy is not None or pending or not received.isascii() or not received:
            try:
                text = decoder.decode(received, final=not received)
            except UnicodeDecodeError as error:
                before = error.object[: error.start]
                counter.add(before if copy is None else before.decode(encoding, "ignore").encode())
                offset = byte_count - pending + error.start
                line = counter.counts.line_ends + 1
                raise FeedRefusedError(_wrong_encoding(path, encoding, line, offset, head or received)) from error
            pending = len(decoder.getstate()[0])
            if copy is not None:
                piece = text.encode()
                copy.write(piece)
        if byte_count == 0 and copy is None and piece.startswith(BYTE_ORDER_MARK):
            text_offset = len(BYTE_ORDER_MARK)
            piece = piece[text_offset:]
        counter.add(piece)
        if len(head) < HEAD_BYTES:
            head += piece[: HEAD_BYTES - len(head)]
        byte_count += len(received)
        if not received:
            break
    return FileScan(digest.hexdigest(), byte_count, text_path, text_offset, head, counter.counts)


def _wrong_encoding(path: Path, encoding: str, line: int, offset: int, head: bytes) -> str:
    guess = "utf-16" if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "cp1252"
    if encoding != "utf-8":
        guess = "utf-8"
    return (
        f"{path} is not {ENCODINGS[encoding].upper()} text: line {line} holds bytes that are not valid in it "
        f"(byte offset {offset}). Have the file sent as UTF-8, or set FEED_ENCODING to the encoding that it has, "
        f"for example FEED_ENCODING={guess} (supported: {', '.join(ENCODINGS.values())})."
    )
