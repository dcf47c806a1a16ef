"""One load: both files parsed, compared with what is known and appended to the landing zone, together or not at all."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from macros.landing import LANDING_TABLES
from scripts.clock import timestamp_literal, utc_now
from scripts.errors import FeedRefusedError, PipelineError
from scripts.feeds import FEEDS
from scripts.ingest.change_capture import (
    CapturedChanges,
    ChangeCounts,
    append_changes,
    capture_changes,
    count_changes,
    count_known_keys,
)
from scripts.ingest.reader import ParsedFeed, read_feed
from scripts.results import FeedLoad
from scripts.settings import Settings
from scripts.warehouse import LoadArea, Warehouse

# Below this number of known keys a large share of removals says nothing.
REMOVALS_CHECKED_FROM_KEYS = 20
# Model intervals begin here (`start` in config.yaml): no window would ever cover an earlier load.
FIRST_LOAD_AT = datetime(2020, 1, 1)


def create_landing(warehouse: Warehouse) -> None:
    """Makes sure of the landing zone."""
    warehouse.execute("CREATE SCHEMA IF NOT EXISTS landing")
    for name, columns in LANDING_TABLES.items():
        warehouse.execute(f"CREATE TABLE IF NOT EXISTS landing.{name} ({columns})")


def last_loaded_at(warehouse: Warehouse) -> datetime | None:
    """Time of the newest committed load, None before the first."""
    newest: datetime | None = warehouse.fetch("SELECT MAX(loaded_at) FROM landing.load")[0][0]
    return newest


def choose_loaded_at(as_of: datetime | None, last: datetime | None, closed_until: datetime | None) -> datetime:
    """The time of a load: `as_of`, or now; naive UTC, microseconds.

    Args:
        as_of: Time asked for.
        last: Time of the newest load.
        closed_until: End of the last window that a model has on record as processed; such a window is not looked at
            again. None where all windows will be processed again.

    Raises:
        FeedRefusedError: The time does not lie after the last load and every closed window, or lies in the future.
    """
    now = utc_now()
    loaded_at = as_of or now
    asked = f"--as-of {loaded_at.isoformat()}" if as_of else f"The time now, {loaded_at.isoformat()} UTC,"
    if last and loaded_at <= last:
        raise FeedRefusedError(
            f"{asked} is not after the last load, {last.isoformat()}. Loads are taken in order: "
            + ("give a later time." if as_of else "check this machine's clock, or give --as-of.")
        )
    if loaded_at < FIRST_LOAD_AT:
        raise FeedRefusedError(
            f"{asked} is before {FIRST_LOAD_AT:%Y-%m-%d}, where the models begin. Give a later time, or move `start` "
            "in config.yaml and FIRST_LOAD_AT in scripts/ingest/load.py back."
        )
    if as_of and loaded_at > now:
        raise FeedRefusedError(f"{asked} lies in the future (now is {now.isoformat()} UTC). Give an earlier time.")
    if closed_until and loaded_at < closed_until:
        raise FeedRefusedError(
            f"{asked} is before {closed_until.isoformat()}, up to which the models have already been run; they would "
            "never see the load. Give a later time, or add --full-refresh, which processes everything again."
        )
    return loaded_at


def ingest(
    warehouse: Warehouse,
    settings: Settings,
    *,
    as_of: datetime | None = None,
    closed_until: datetime | None = None,
    allow_removals: bool = False,
) -> list[FeedLoad]:
    """Takes both files of the inputs folder as one load.

    Returns:
        The ledger rows of the load, one per file.

    Raises:
        FeedRefusedError: A file breaks its contract, or the load's time does not fit; nothing was written.
    """
    create_landing(warehouse)
    loaded_at = choose_loaded_at(as_of, last_loaded_at(warehouse), closed_until)
    with warehouse.load() as area:
        parsed_feeds = [
            read_feed(
                area.parser,
                feed,
                settings.input_path / feed.file_name,
                encoding=settings.feed_encoding,
                max_rejected_share=settings.max_rejected_share,
            )
            for feed in FEEDS
        ]
        loads = [
            _take_file(warehouse, area, parsed, loaded_at, None if allow_removals else settings.max_removed_share)
            for parsed in parsed_feeds
        ]
        # The ledger comes last, both files in one statement: on an engine without transactions it is the commit.
        warehouse.execute(
            f"INSERT INTO landing.load SELECT * FROM (VALUES {', '.join(map(_ledger_values, loads))}) AS ledger "
            f"WHERE NOT EXISTS (SELECT 1 FROM landing.load WHERE loaded_at = {timestamp_literal(loaded_at)})"
        )
    return loads


def _take_file(
    warehouse: Warehouse, area: LoadArea, parsed: ParsedFeed, loaded_at: datetime, max_removed_share: float | None
) -> FeedLoad:
    feed = parsed.feed
    changes = capture_changes(area, feed, area.stage(parsed.rows_table))
    counts = count_changes(warehouse, changes)
    if counts.rows_read_count != parsed.rows_read_count:
        raise PipelineError(
            f"{parsed.path}: {parsed.rows_read_count} rows were read, but {counts.rows_read_count} came out of the "
            "comparison. Nothing was written. This is a fault of the pipeline: keep the file and report it."
        )
    if max_removed_share is not None:
        _refuse_truncated_feed(warehouse, changes, counts, parsed.path, max_removed_share)
    moment = timestamp_literal(loaded_at)
    append_changes(warehouse, changes, moment)
    if parsed.rejected_count:
        warehouse.execute(
            f"""
            INSERT INTO landing.reject (loaded_at, feed, file_name, line_number, reason, detail, raw_text)
            SELECT {moment}, '{feed.name}', '{feed.file_name}', line_number, reason, detail, raw_text
            FROM {area.stage(parsed.rejects_table)}
            WHERE NOT EXISTS (
                SELECT 1 FROM landing.reject WHERE loaded_at = {moment} AND feed = '{feed.name}'
            )
            """
        )
    return FeedLoad(
        loaded_at=loaded_at,
        feed=feed.name,
        file_name=feed.file_name,
        sha256=parsed.sha256,
        byte_count=parsed.byte_count,
        data_line_count=parsed.data_line_count,
        rows_read_count=parsed.rows_read_count,
        new_count=counts.new_count,
        changed_count=counts.changed_count,
        gone_count=counts.gone_count,
        unchanged_count=counts.unchanged_count,
        duplicate_count=counts.duplicate_count,
        rejected_count=parsed.rejected_count,
    )


def _refuse_truncated_feed(
    warehouse: Warehouse, changes: CapturedChanges, counts: ChangeCounts, path: Path, max_removed_share: float
) -> None:
    if counts.gone_count <= max_removed_share * REMOVALS_CHECKED_FROM_KEYS:
        return
    known = count_known_keys(warehouse, changes)
    if known >= REMOVALS_CHECKED_FROM_KEYS and counts.gone_count > max_removed_share * known:
        raise FeedRefusedError(
            f"{path} lacks {counts.gone_count:,} of the {known:,} known keys ({counts.gone_count / known:.0%}; at most "
            f"{max_removed_share:.0%} may leave at once): the file looks truncated. Ask for it again; if they are "
            "really gone, run once with --allow-removals, or set MAX_REMOVED_SHARE."
        )


def _ledger_values(load: FeedLoad) -> str:
    return (
        f"({timestamp_literal(load.loaded_at)}, '{load.feed}', "
        f"'{load.file_name}', '{load.sha256}', {load.byte_count}, {load.data_line_count}, {load.rows_read_count}, "
        f"{load.new_count}, {load.changed_count}, {load.gone_count}, {load.unchanged_count}, {load.duplicate_count}, "
        f"{load.rejected_count})"
    )
