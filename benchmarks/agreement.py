"""Whether two contestants left the same marts: a time means nothing for another result."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb

from scripts.sql import path_literal

MARTS = {"account_summary": "account_id", "customer_profile": "customer_id"}
SHOWN_ROWS = 3
_WIDE_DECIMAL = re.compile(r"DECIMAL\((19|[23][0-9]),")


def first_difference(expected: Path, actual: Path, *, with_dates: bool) -> str | None:
    """Compares the four files of two folders; the CSV files are read with the types of the Parquet ones.

    Args:
        expected: Folder of account_summary and customer_profile, each as .parquet and .csv.
        actual: Another one.
        with_dates: Whether `calculated_at` has to be equal, too.

    Returns:
        The first file that differs, with the first rows that one side alone has; None where there is none.
    """
    with duckdb.connect() as connection:
        for mart, key in MARTS.items():
            types = _types(connection, expected / f"{mart}.parquet")
            names = [name for name in types if with_dates or name != "calculated_at"]
            for kind in ("parquet", "csv"):
                if not (actual / f"{mart}.{kind}").exists():
                    return f"{mart}.{kind} was not written."
                wanted, found = (
                    f"SELECT {', '.join(names)} FROM {_rows(folder / f'{mart}.{kind}', types)}"
                    for folder in (expected, actual)
                )
                if _fingerprint(connection, names, wanted) != _fingerprint(connection, names, found):
                    return f"{mart}.{kind} differs:\n{_first_rows_alone(connection, names, key, wanted, found)}"
    return None


def _fingerprint(connection: duckdb.DuckDBPyConnection, names: Sequence[str], rows: str) -> Any:
    """What is equal for the same rows in any order, at the price of reading them once."""
    return connection.execute(f"SELECT COUNT(*), SUM(hash({', '.join(names)})) FROM ({rows})").fetchone()


def _first_rows_alone(
    connection: duckdb.DuckDBPyConnection, names: Sequence[str], key: str, wanted: str, found: str
) -> str:
    lines = []
    for side, one, other in (("missing", wanted, found), ("unexpected", found, wanted)):
        alone = connection.execute(f"{one} EXCEPT ALL {other} ORDER BY {key} LIMIT {SHOWN_ROWS}").fetchall()
        lines += [f"  {side} {dict(zip(names, row, strict=True))}" for row in alone]
    return "\n".join(lines or ["  in types alone, not in values"])


def _types(connection: duckdb.DuckDBPyConnection, parquet: Path) -> dict[str, str]:
    """The types in which columns are compared. DuckDB makes a number of 128 bits of a text hundreds of times slower
    than one of 64, in which generated amounts have room."""
    described = connection.execute(f"DESCRIBE FROM read_parquet({path_literal(parquet)})").fetchall()
    return {name: _WIDE_DECIMAL.sub("DECIMAL(18,", type_) for name, type_, *_ in described}


def _rows(path: Path, types: dict[str, str]) -> str:
    """SQL for the rows of a file."""
    if path.suffix == ".parquet":
        return f"read_parquet({path_literal(path)})"
    columns = ", ".join(f"'{name}': '{type_}'" for name, type_ in types.items())
    return f"read_csv({path_literal(path)}, columns = {{{columns}}}, auto_detect = false, header = true, quote = '\"')"
