"""One pass over the bytes of a feed file: checksum, encoding, and the counts that its rows are checked against."""

from __future__ import annotations

import codecs
import hashlib
from contextlib import nullcontext, suppress
from dataclasses import astuple, dataclass, replace
from functools import partial
from itertools import chain
from operator import add, sub
from pathlib import Path
from typing import BinaryIO

import numpy as np

from scripts.errors import FeedRefusedError
from scripts.feeds import Feed

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
    """What a stretch of CSV text consists of, in bytes, inside quotes or not. `pairs` are CR LF in sequence,
    `empty_lines` lines without a byte in them, `unfinished_lines` is 1 if the text does not end with a line end."""

    total: int = 0
    delimiters: int = 0
    quotes: int = 0
    line_feeds: int = 0
    carriage_returns: int = 0
    pairs: int = 0
    empty_lines: int = 0
    unfinished_lines: int = 0

    def __add__(self, other: ByteCounts) -> ByteCounts:
        return ByteCounts(*map(add, astuple(self), astuple(other)))

    def __sub__(self, other: ByteCounts) -> ByteCounts:
        return ByteCounts(*map(sub, astuple(self), astuple(other)))

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
        self._last = b"\n"  # a text begins as if a line had ended before it

    def add(self, piece: bytes) -> None:
        """Count the next piece of the text."""
        array = np.frombuffer(self._last + piece, np.uint8)
        is_end = is_line_feed = array == _LINE_FEED
        carriage_returns, pairs = piece.count(b"\r"), 0
        if carriage_returns or self._last == b"\r":
            is_carriage_return = array == _CARRIAGE_RETURN
            is_end = is_line_feed | is_carriage_return
            pairs = int(np.count_nonzero(is_line_feed[1:] & is_carriage_return[:-1]))
        self._sums += ByteCounts(
            total=len(piece),
            delimiters=int(np.count_nonzero(array[1:] == self._delimiter)),
            quotes=int(np.count_nonzero(array[1:] == _QUOTE)),
            line_feeds=int(np.count_nonzero(is_line_feed[1:])),
            carriage_returns=carriage_returns,
            pairs=pairs,
            empty_lines=int(np.count_nonzero(is_end[1:] & is_end[:-1])) - pairs,
        )
        self._last = piece[-1:] or self._last

    @property
    def counts(self) -> ByteCounts:
        """Counts of what was added so far."""
        return replace(self._sums, unfinished_lines=int(self._last not in (b"\n", b"\r")))


def count_bytes(source: BinaryIO, delimiter: str) -> ByteCounts:
    """Counts of a text, from where it was read up to."""
    counter = ByteCounter(delimiter)
    for piece in iter(partial(source.read, CHUNK_BYTES), b""):
        counter.add(piece)
    return counter.counts


@dataclass(frozen=True)
class FileScan:
    """A feed file as one pass over its bytes saw it: SHA-256 in hexadecimal and size of what was received, the file
    that holds its text in UTF-8 (itself, or its copy if it has another encoding), the bytes there before the text (a
    byte order mark), the text's first bytes, at most `HEAD_BYTES`, and counts of the whole text, header included."""

    feed: Feed
    path: Path
    sha256: str
    byte_count: int
    text_path: Path
    text_offset: int
    head: bytes
    counts: ByteCounts


def encoding_name(encoding: str) -> str:
    """The codec for a value of FEED_ENCODING. Raises FeedRefusedError, with the list, for one that is not supported."""
    with suppress(LookupError):
        if (name := codecs.lookup(encoding).name) in ENCODINGS:
            return name
    choices = ", ".join(ENCODINGS.values())
    raise FeedRefusedError(f"FEED_ENCODING is '{encoding}', which is not supported. Set it to one of: {choices}.")


def scan_file(feed: Feed, path: Path, encoding: str, copy_path: Path) -> FileScan:
    """Read the file once. One whose `encoding` (from `encoding_name`) is not UTF-8 is written to `copy_path` in UTF-8
    on the way. Raises FeedRefusedError where the bytes are not text in this encoding (names the line and the byte
    offset, from 0), or are UTF-8 and would be other letters in it, and OSError where the file cannot be read."""
    if encoding in _TAKES_ANY_BYTE and _is_utf_8_beyond_ascii(path):
        raise FeedRefusedError(
            f"{path} is UTF-8 text, of which FEED_ENCODING={ENCODINGS[encoding]} would make other letters. Set "
            "FEED_ENCODING=utf-8, or take the setting away."
        )
    with path.open("rb") as source, copy_path.open("wb") if encoding != "utf-8" else nullcontext() as copy:
        return _scan(feed, path, source, encoding, copy)


def _is_utf_8_beyond_ascii(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8", newline="") as source:
            return False in {text.isascii() for text in iter(partial(source.read, CHUNK_BYTES), "")}
    except UnicodeDecodeError:
        return False


def _scan(feed: Feed, path: Path, source: BinaryIO, encoding: str, copy: BinaryIO | None) -> FileScan:
    digest = hashlib.sha256()
    decoder = codecs.getincrementaldecoder(encoding)()
    counter = ByteCounter(feed.format.delimiter)
    head = b""
    byte_count = text_offset = 0
    pending = 0  # bytes of an unfinished character that the decoder holds from the piece before
    for received in chain(iter(partial(source.read, CHUNK_BYTES), b""), [b""]):
        digest.update(received)
        piece = received
        if copy or pending or not received.isascii() or not received:
            try:
                text = decoder.decode(received, final=not received)
            except UnicodeDecodeError as error:
                before = error.object[: error.start]
                counter.add(before.decode(encoding, "ignore").encode() if copy else before)
                is_utf_16 = (head or received).startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
                guess = "utf-8" if encoding != "utf-8" else "utf-16" if is_utf_16 else "cp1252"
                raise FeedRefusedError(
                    f"{path} is not {ENCODINGS[encoding].upper()} text: line {counter.counts.line_ends + 1} holds "
                    f"bytes that are not valid in it (byte offset {byte_count - pending + error.start}). Have the file "
                    f"sent as UTF-8, or set FEED_ENCODING to the encoding that it has, for example "
                    f"FEED_ENCODING={guess} (supported: {', '.join(ENCODINGS.values())})."
                ) from error
            pending = len(decoder.getstate()[0])
            if copy:
                piece = text.encode()
                copy.write(piece)
        if byte_count == 0 and not copy and piece.startswith(BYTE_ORDER_MARK):
            text_offset = len(BYTE_ORDER_MARK)
            piece = piece[text_offset:]
        counter.add(piece)
        head += piece[: HEAD_BYTES - len(head)]
        byte_count += len(received)
    text_path = Path(copy.name) if copy else path
    return FileScan(feed, path, digest.hexdigest(), byte_count, text_path, text_offset, head, counter.counts)
