"""Values as literals of SQL, in words that both engines understand."""

from __future__ import annotations

import glob
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

PATTERN_CHARACTERS = "*?["
"""Characters of a path that DuckDB's file functions take for a pattern."""


def text_literal(text: object) -> str:
    """Text as a literal: quotes in it are doubled."""
    return "'" + str(text).replace("'", "''") + "'"


def path_literal(path: Path) -> str:
    """A path as a literal that DuckDB's file functions take for that one file, whatever is in its name."""
    return text_literal(glob.escape(str(path)))


def row_literal(values: Iterable[Any]) -> str:
    """A row of texts, numbers and moments, as VALUES takes it."""
    return f"({', '.join(map(_literal, values))})"


def timestamp_literal(moment: datetime) -> str:
    """A moment as a literal, microseconds and all."""
    return f"TIMESTAMP '{moment.isoformat(sep=' ', timespec='microseconds')}'"


def _literal(value: Any) -> str:
    if isinstance(value, datetime):
        return timestamp_literal(value)
    return text_literal(value) if isinstance(value, str) else str(value)
