"""Change capture: what of a full extract is new, changed or gone (design: "Change capture (landing)").

The SQL is written in DuckDB's dialect and runs on both engines. Its unit is the content of a key: the set of different
rows that a file holds for it.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlglot import exp

from macros.text import cleaned
from scripts.feeds import Feed
from scripts.warehouse import LoadArea, Warehouse


@dataclass(frozen=True)
class ChangeCounts:
    """Rows of one file by what they were against the rows known before; `gone` and `known_key` counts are of keys."""

    new_count: int
    changed_count: int
    gone_count: int
    unchanged_count: int
    duplicate_count: int
    known_key_count: int

    @property
    def rows_read_count(self) -> int:
        return self.new_count + self.changed_count + self.unchanged_count + self.duplicate_count


@dataclass(frozen=True)
class CapturedChanges:
    """Scratch tables of one feed's comparison.

    Attributes:
        compared: One row per different row, of the file or known, with `file_copies_count` and `known_count`.
        keyed: One row per key: `rows_for_key_count` (different rows in the file), `copies_count` (all its rows in the
            file), `known_count`, and `is_different`.
    """

    feed: Feed
    compared: str
    keyed: str


def capture_changes(area: LoadArea, feed: Feed, received: str) -> CapturedChanges:
    """Compares the received rows (`feed.columns`, text, never NULL) with what the committed loads left known."""
    columns = ", ".join(feed.columns)
    compared = area.scratch(
        f"compared_{feed.name}",
        f"""
        WITH latest AS (
            SELECT {feed.key_column}, MAX(loaded_at) AS loaded_at
            FROM landing.{feed.name}
            WHERE loaded_at IN (SELECT loaded_at FROM landing.load WHERE feed = '{feed.name}')
            GROUP BY {feed.key_column}
        ),
        present AS (
            SELECT {_trimmed(feed.key)} AS {feed.key_column}, {columns}, 1 AS file_copies_count, 0 AS known_count
            FROM {received}
            UNION ALL
            SELECT {", ".join(f"known.{name}" for name in (feed.key_column, *feed.columns))}, 0, 1
            FROM landing.{feed.name} AS known
            JOIN latest ON latest.{feed.key_column} = known.{feed.key_column} AND latest.loaded_at = known.loaded_at
            WHERE known.change_type <> 'gone'
        )
        SELECT
            {feed.key_column}, {columns}, SUM(file_copies_count) AS file_copies_count, SUM(known_count) AS known_count
        FROM present
        GROUP BY {feed.key_column}, {columns}
        """,
    )
    keyed = area.scratch(
        f"keyed_{feed.name}",
        f"""
        SELECT
            {feed.key_column},
            SUM(CASE WHEN file_copies_count > 0 THEN 1 ELSE 0 END) AS rows_for_key_count,
            SUM(file_copies_count) AS copies_count,
            SUM(known_count) AS known_count,
            SUM(CASE WHEN file_copies_count = 0 OR known_count = 0 THEN 1 ELSE 0 END) > 0 AS is_different
        FROM {compared}
        GROUP BY {feed.key_column}
        """,
    )
    return CapturedChanges(feed, compared, keyed)


def count_changes(warehouse: Warehouse, changes: CapturedChanges) -> ChangeCounts:
    """Counts the file's rows by kind; every row of the file is in exactly one of them."""
    ((new, changed, gone, unchanged, duplicate, known),) = warehouse.fetch(
        f"""
        SELECT
            COALESCE(SUM(CASE WHEN known_count = 0 THEN rows_for_key_count ELSE 0 END), 0),
            COALESCE(SUM(CASE WHEN known_count > 0 AND is_different THEN rows_for_key_count ELSE 0 END), 0),
            COALESCE(SUM(CASE WHEN rows_for_key_count = 0 THEN 1 ELSE 0 END), 0),
            COALESCE(SUM(CASE WHEN NOT is_different THEN rows_for_key_count ELSE 0 END), 0),
            COALESCE(SUM(copies_count - rows_for_key_count), 0),
            COALESCE(SUM(CASE WHEN known_count > 0 THEN 1 ELSE 0 END), 0)
        FROM {changes.keyed}
        """
    )
    return ChangeCounts(int(new), int(changed), int(gone), int(unchanged), int(duplicate), int(known))


def append_changes(warehouse: Warehouse, changes: CapturedChanges, loaded_at: str) -> None:
    """Appends what is new, changed or gone to the change log, dated `loaded_at` (an SQL timestamp literal).

    Repeating it changes nothing: a client that lost its connection may send a statement again that had been run.
    """
    feed = changes.feed
    key = feed.key_column
    columns = ", ".join(feed.columns)
    warehouse.execute(
        f"""
        INSERT INTO landing.{feed.name} (loaded_at, change_type, {key}, rows_for_key_count, {columns})
        SELECT change.* FROM (
        SELECT
            {loaded_at},
            CASE WHEN keyed.known_count = 0 THEN 'new' ELSE 'changed' END,
            compared.{key},
            CAST(keyed.rows_for_key_count AS BIGINT),
            {", ".join(f"compared.{name}" for name in feed.columns)}
        FROM {changes.compared} AS compared
        JOIN {changes.keyed} AS keyed ON keyed.{key} = compared.{key}
        WHERE compared.file_copies_count > 0 AND keyed.is_different
        UNION ALL
        SELECT {loaded_at}, 'gone', {key}, CAST(0 AS BIGINT), {", ".join("CAST(NULL AS VARCHAR)" for _ in feed.columns)}
        FROM {changes.keyed}
        WHERE rows_for_key_count = 0
        ) AS change
        WHERE NOT EXISTS (SELECT 1 FROM landing.{feed.name} WHERE loaded_at = {loaded_at})
        """
    )


def _trimmed(column: str) -> str:
    return cleaned(exp.column(column)).sql(dialect="duckdb")
