"""Change capture: what of a full extract is new, changed or gone (docs/design.md, "Change capture").

The SQL is written in DuckDB's dialect and runs on both engines. Its unit is the content of a key: the set of different
rows that a file holds for it.

What could not be read is not gone. A key that a rejected line names is present: without a sound line it keeps what is
known of it. A known key of which the file holds no line is missing, and gone; but where the key of some rejected line
can't be told it may be any of the missing ones, so that none of them is closed: they stay open, as not seen.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlglot import exp

from scripts.feeds import Feed
from scripts.ingest.reader import ParsedFeed, key_of
from scripts.warehouse import LoadArea, Warehouse
from scripts.warehouse.landing_tables import LANDING_TABLES


@dataclass(frozen=True)
class ChangeCounts:
    """Rows of one file by what they were against the rows known before; the known keys, in all and missing; and the
    different rows known before, more than keys where a key was in conflict."""

    new_count: int
    changed_count: int
    unchanged_count: int
    duplicate_count: int
    known_key_count: int
    missing_key_count: int
    known_row_count: int

    @property
    def rows_read_count(self) -> int:
        return self.new_count + self.changed_count + self.unchanged_count + self.duplicate_count

    @property
    def differing_share(self) -> float:
        """The share of the rows known before that are no longer there, or of the file's that were not there before,
        whichever is larger; there are known rows."""
        differing = self.new_count + self.changed_count
        return max(1 - self.unchanged_count / self.known_row_count, differing / (differing + self.unchanged_count))


@dataclass(frozen=True)
class CapturedChanges:
    """Tables of one feed's comparison.

    Attributes:
        received: SQL for all rows of the file, with their key; `rejects`: for its rejected lines, None where none are.
        known: The different rows that the committed loads left known, with `rows_for_key_count`.
        differing: One row per key of which the file holds other rows than are known, with `is_known` and `is_rejected`
            (a rejected line names it).
        present: The file's different rows of these keys, with `copies_count` and `rows_for_key_count`.
        closes_missing_keys: A missing key is gone, for that of each rejected line could be told; else it is not seen.
    """

    feed: Feed
    received: str
    rejects: str | None
    known: str
    differing: str
    present: str
    closes_missing_keys: bool

    @property
    def is_missing(self) -> str:
        """SQL for: the key of a row of `compared` is missing."""
        return f"present.{self.feed.key_column} IS NULL AND NOT differing.is_rejected"

    @property
    def compared(self) -> str:
        """SQL for `differing`, joined with `present`."""
        key = self.feed.key_column
        return f"{self.differing} AS differing LEFT JOIN {self.present} AS present ON present.{key} = differing.{key}"

    @property
    def keys_not_seen(self) -> str:
        """A query (record_key) for the missing keys that stay open; there is none where `closes_missing_keys`."""
        return f"SELECT differing.{self.feed.key_column} AS record_key FROM {self.compared} WHERE {self.is_missing}"


def is_committed(feed: str) -> str:
    """SQL for: a row of a feed's change log is of a load that is in the ledger."""
    return f"loaded_at IN (SELECT loaded_at FROM landing.load WHERE feed = '{feed}')"


def capture_changes(area: LoadArea, parsed: ParsedFeed) -> CapturedChanges:
    """Compares the rows of a file with what the committed loads left known."""
    feed, key = parsed.feed, parsed.feed.key_column
    received = area.stage(parsed.rows_table)
    rejects = area.stage(parsed.rejects_table) if parsed.rejected_count else None
    columns = ", ".join(feed.columns)
    # A column that the feed did not have yet held an empty field.
    held = ", ".join(f"COALESCE(known.{name}, '') AS {name}" for name in feed.columns)
    is_of_load = is_committed(feed.name)
    known_rows = f"""
        -- Before a key's new rows there is nothing, or its tombstone: only the other rows end what was known.
        WITH ended AS (
            SELECT {key}, MAX(loaded_at) AS ended_at FROM landing.{feed.name}
            WHERE change_type <> 'new' AND {is_of_load} GROUP BY {key}
        )
        SELECT known.{key}, known.rows_for_key_count, {held}
        FROM landing.{feed.name} AS known
        LEFT JOIN ended ON ended.{key} = known.{key}
        WHERE known.change_type <> 'gone' AND {is_of_load} AND loaded_at >= COALESCE(ended_at, loaded_at)
        """
    known = area.scratch(f"known_{feed.name}", known_rows)
    keyed = f"(SELECT {_key(feed)} AS {key}, {columns} FROM {received} AS file)"
    is_rejected = f"{key} IN (SELECT record_key FROM {rejects} WHERE record_key IS NOT NULL)" if rejects else "FALSE"
    differing_keys = f"""
        WITH differing AS (
            SELECT DISTINCT COALESCE(known.{key}, {_key(feed)}) AS {key}
            FROM {received} AS file
            FULL JOIN {known} AS known ON {" AND ".join(f"known.{name} = file.{name}" for name in feed.columns)}
            WHERE known.{key} IS NULL OR file.{feed.key} IS NULL
            -- Rows of a key that differ no more: they did in a column that the contract has lost.
            UNION
            SELECT {key} FROM {known} WHERE rows_for_key_count > 1 GROUP BY {key}, {columns} HAVING COUNT(*) > 1
        )
        SELECT {key}, {key} IN (SELECT {key} FROM {known}) AS is_known, {is_rejected} AS is_rejected
        FROM differing
        """
    differing = area.scratch(f"differing_{feed.name}", differing_keys)
    present_rows = f"""
        SELECT {key}, {columns}, COUNT(*) AS copies_count, COUNT(*) OVER (PARTITION BY {key}) AS rows_for_key_count
        FROM {keyed} AS keyed
        WHERE {key} IN (SELECT {key} FROM {differing})
        GROUP BY {key}, {columns}
        """
    present = area.scratch(f"present_{feed.name}", present_rows)
    return CapturedChanges(feed, keyed, rejects, known, differing, present, not parsed.untold_key_count)


def count_changes(warehouse: Warehouse, changes: CapturedChanges) -> ChangeCounts:
    """Counts the file's rows by kind; every row of the file is in exactly one of them."""
    key = changes.feed.key_column
    # Not NOT IN: on a warehouse that is a join of every row with every other once the keys are too many to broadcast.
    is_equal = f"NOT EXISTS (SELECT 1 FROM {changes.differing} AS other WHERE other.{key} = equal.{key})"
    in_conflict = f"CASE WHEN rows_for_key_count > 1 THEN {key} END"
    query = f"""
        SELECT
            COUNT(CASE WHEN NOT differing.is_known THEN present.{key} END),
            COUNT(CASE WHEN differing.is_known THEN present.{key} END),
            COALESCE(SUM(present.copies_count - 1), 0),
            (SELECT COUNT(*) FROM {changes.known} AS equal WHERE {is_equal}),
            (SELECT COUNT(*) FROM {changes.received} AS equal WHERE {is_equal}),
            (SELECT COUNT(*) - COUNT({in_conflict}) + COUNT(DISTINCT {in_conflict}) FROM {changes.known}),
            COUNT(CASE WHEN {changes.is_missing} THEN 1 END),
            (SELECT COUNT(*) FROM {changes.known})
        FROM {changes.compared}
        """
    ((new, changed, repeated, unchanged, equal_rows, *known),) = warehouse.fetch(query)
    # A key whose rows are all known: what the file holds beyond one of each is a copy.
    return ChangeCounts(new, changed, unchanged, int(repeated) + equal_rows - unchanged, *known)


def change_log_rows(changes: CapturedChanges, loaded_at: str) -> str:
    """The query of what is new, changed or gone, dated `loaded_at` (an SQL literal): the columns of `Feed.change_log`,
    in their order."""
    key = changes.feed.key_column
    is_gone = changes.is_missing if changes.closes_missing_keys else "FALSE"
    return f"""
        SELECT {loaded_at} AS loaded_at,
            CASE WHEN present.{key} IS NULL THEN 'gone' WHEN differing.is_known THEN 'changed' ELSE 'new' END
                AS change_type,
            differing.{key}, COALESCE(present.rows_for_key_count, 0) AS rows_for_key_count,
            {", ".join(f"present.{name}" for name in changes.feed.columns)}
        FROM {changes.compared}
        WHERE present.{key} IS NOT NULL OR ({is_gone})
        """


def append_changes(warehouse: Warehouse, changes: CapturedChanges, loaded_at: str) -> None:
    """Appends what is new, changed or gone to the change log, dated `loaded_at` (an SQL timestamp literal), once."""
    append_once(warehouse, changes.feed.name, change_log_rows(changes, loaded_at), f"loaded_at = {loaded_at}")


def append_once(warehouse: Warehouse, table: str, rows: str, is_there: str) -> None:
    """Appends the rows of a query to a table of the landing zone, unless it has some for which `is_there` (SQL) holds:
    repeated it changes nothing, for a client that lost its connection may send a statement again that had been run."""
    columns = ", ".join(LANDING_TABLES[table])
    warehouse.execute(
        f"INSERT INTO landing.{table} ({columns}) SELECT {columns} FROM ({rows}) AS found "
        f"WHERE NOT EXISTS (SELECT 1 FROM landing.{table} WHERE {is_there})"
    )


def _key(feed: Feed) -> str:
    return key_of(feed, exp.column(feed.key, "file")).sql(dialect="duckdb")
