"""The tables of the landing zone and their columns, in DuckDB's dialect."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from scripts.feeds import FEEDS


def _columns(text: str) -> dict[str, str]:
    return dict(column.split() for column in text.split(","))


LANDING_TABLES = {
    # First: where it is, the project was there (ownership.py).
    "load": _columns("""
        loaded_at TIMESTAMP, feed VARCHAR, file_name VARCHAR, sha256 VARCHAR, byte_count BIGINT, data_line_count BIGINT,
        rows_read_count BIGINT, new_count BIGINT, changed_count BIGINT, gone_count BIGINT, unchanged_count BIGINT,
        duplicate_count BIGINT, rejected_count BIGINT, encoding VARCHAR"""),
    **{feed.name: feed.change_log for feed in FEEDS},
    "reject": _columns("""
        loaded_at TIMESTAMP, feed VARCHAR, file_name VARCHAR, line_number BIGINT, reason VARCHAR, detail VARCHAR,
        raw_text VARCHAR"""),
    "unseen": _columns("loaded_at TIMESTAMP, feed VARCHAR, record_key VARCHAR"),
    # When prod went over to which rates of interest (scripts/project/rate_changes.py).
    "rate_change": _columns("changed_at TIMESTAMP, rates VARCHAR"),
    # Which load may write, on an engine that locks nothing (scripts/warehouse/lease.py).
    "lease": _columns("load_id VARCHAR, host VARCHAR, pid BIGINT, taken_at TIMESTAMP, until_at TIMESTAMP"),
    "run": _columns("""
        run_id VARCHAR, started_at TIMESTAMP, finished_at TIMESTAMP, execution_time TIMESTAMP,
        model_versions VARCHAR"""),
}


def landing_statements(columns_of: Callable[[str], Collection[str]]) -> Iterator[str]:
    """Statements that make sure of the landing zone: its tables, and in the change logs the columns that a feed's
    declaration has by now. One that it no longer has stays. `columns_of` says none of a table that is not there."""
    yield "CREATE SCHEMA IF NOT EXISTS landing"
    for name, columns in LANDING_TABLES.items():
        declared = ", ".join(f"{column} {kind}" for column, kind in columns.items())
        yield f"CREATE TABLE IF NOT EXISTS landing.{name} ({declared})"
    for feed in FEEDS:
        stored = columns_of(f"landing.{feed.name}")
        for column, kind in feed.change_log.items():
            if stored and column not in stored:
                yield f"ALTER TABLE landing.{feed.name} ADD COLUMN {column} {kind}"
