"""Whether two contestants left the same marts: a time means nothing for another result."""

from __future__ import annotations

from pathlib import Path

import duckdb

from scripts.sql import path_literal

MARTS = {"account_summary": "account_id", "customer_profile": "customer_id"}
SHOWN_ROWS = 3


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
            described = connection.execute(f"DESCRIBE FROM {_rows(expected / f'{mart}.parquet', {})}").fetchall()
            types = {name: type_ for name, type_, *_ in described}
            names = [name for name in types if with_dates or name != "calculated_at"]
            for kind in ("parquet", "csv"):
                wanted, found = (
                    f"SELECT {', '.join(names)} FROM {_rows(folder / f'{mart}.{kind}', types)}"
                    for folder in (expected, actual)
                )
                for side, rows in (("missing", (wanted, found)), ("unexpected", (found, wanted))):
                    alone = f"{rows[0]} EXCEPT ALL {rows[1]}"
                    if shown := connection.execute(f"{alone} ORDER BY {key} LIMIT {SHOWN_ROWS}").fetchall():
                        lines = "\n".join(f"  {side} {dict(zip(names, row, strict=True))}" for row in shown)
                        return f"{mart}.{kind}: the first rows that are {side}:\n{lines}"
    return None


def _rows(path: Path, types: dict[str, str]) -> str:
    if path.suffix == ".parquet":
        return f"read_parquet({path_literal(path)})"
    columns = ", ".join(f"'{name}': '{type_}'" for name, type_ in types.items())
    return f"read_csv({path_literal(path)}, columns = {{{columns}}}, auto_detect = false, header = true, quote = '\"')"
