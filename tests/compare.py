"""Comparison of two tables row for row, with a difference that can be read."""

from __future__ import annotations

from collections import Counter
from typing import Any

MAX_SHOWN = 5

Cell = tuple[str, str, Any]


def assert_same_rows(expected: list[dict[str, Any]], actual: list[dict[str, Any]], table: str) -> None:
    """Check that both hold the same rows, equally often, in any order.

    Values must be of exactly the same type (True is not 1, a pandas Timestamp is no datetime); of decimals the value
    counts, not the scale. The order of the columns does not matter.

    Args:
        expected: Rows by column name, as they should be.
        actual: Rows by column name, as they are.
        table: Name of the table, for the message.

    Raises:
        AssertionError: They differ. The message shows the first rows that are missing and that are unexpected, and for
            a missing row the cells in which the most similar unexpected row differs.
    """
    wanted, found = Counter(map(_cells, expected)), Counter(map(_cells, actual))
    if wanted == found:
        return
    missing = sorted((wanted - found).elements(), key=_text)
    unexpected = sorted((found - wanted).elements(), key=_text)
    lines = [
        f"{table}: expected {len(expected)} rows, found {len(actual)}; "
        f"{len(missing)} missing, {len(unexpected)} unexpected."
    ]
    for cells in missing[:MAX_SHOWN]:
        lines.append(f"  missing    {_text(cells)}")
        closest = max(unexpected, key=lambda other: len(set(cells) & set(other)), default=None)
        if closest is not None and set(cells) & set(closest):
            lines.extend(_differences(cells, closest))
    lines.extend(_left_out(missing))
    lines.extend(f"  unexpected {_text(cells)}" for cells in unexpected[:MAX_SHOWN])
    lines.extend(_left_out(unexpected))
    raise AssertionError("\n".join(lines))


def _cells(row: dict[str, Any]) -> tuple[Cell, ...]:
    """The row as something that can be counted: cells of column, type and value, in the order of the columns' names."""
    return tuple((column, type(row[column]).__name__, row[column]) for column in sorted(row))


def _text(cells: tuple[Cell, ...]) -> str:
    return "{" + ", ".join(f"{column}: {value!r}" for column, _, value in cells) + "}"


def _differences(expected: tuple[Cell, ...], actual: tuple[Cell, ...]) -> list[str]:
    wanted = {column: (kind, value) for column, kind, value in expected}
    found = {column: (kind, value) for column, kind, value in actual}
    lines = []
    for column in sorted(wanted.keys() | found.keys()):
        if wanted.get(column) != found.get(column):
            lines.append(f"      closest differs in {column}: {_cell(wanted, column)} became {_cell(found, column)}")
    return lines


def _cell(cells: dict[str, tuple[str, Any]], column: str) -> str:
    if column not in cells:
        return "no such column"
    kind, value = cells[column]
    return f"{value!r} ({kind})"


def _left_out(rows: list[tuple[Cell, ...]]) -> list[str]:
    return [f"  ... and {len(rows) - MAX_SHOWN} more"] if len(rows) > MAX_SHOWN else []
