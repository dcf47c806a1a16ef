"""One load: both files parsed, compared with what is known and appended to the landing zone, together or not at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass, fields, replace
from datetime import datetime
from functools import partial

from scripts.clock import FIRST_LOAD_AT, utc_now
from scripts.errors import FeedRefusedError, PipelineError
from scripts.feeds import FEEDS, Feed
from scripts.files import sha256_of
from scripts.ingest.change_capture import CapturedChanges, append_changes, append_once, capture_changes, count_changes
from scripts.ingest.guards import refuse_emptied_column, refuse_lost_rows, refuse_mass_quarantine, refuse_truncated_feed
from scripts.ingest.outlook import Judge, Outlook
from scripts.ingest.reader import ParsedFeed, read_feed
from scripts.results import FeedLoad
from scripts.settings import NOTHING_ALLOWED, Allowed, Settings
from scripts.sql import row_literal, text_literal, timestamp_literal
from scripts.warehouse import LoadArea, Warehouse
from scripts.warehouse.landing_tables import landing_statements


def create_landing(warehouse: Warehouse) -> None:
    """Makes sure of the landing zone."""
    for statement in landing_statements(warehouse.columns_of):
        warehouse.execute(statement)


def last_loaded_at(warehouse: Warehouse) -> datetime | None:
    """Time of the newest committed load, None before the first."""
    newest: datetime | None = warehouse.fetch("SELECT MAX(loaded_at) FROM landing.load")[0][0]
    return newest


def choose_loaded_at(as_of: datetime | None, last: datetime | None) -> datetime:
    """The time of a load: `as_of`, or now; naive UTC, microseconds. Raises FeedRefusedError for one that does not lie
    after the `last` load and FIRST_LOAD_AT, or lies in the future."""
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
            f"{asked} is before {FIRST_LOAD_AT:%Y-%m-%d}, where the models begin. Give a later time, or move "
            "FIRST_LOAD_AT in scripts/clock.py back."
        )
    if as_of and loaded_at > now:
        raise FeedRefusedError(f"{asked} lies in the future (now is {now.isoformat()} UTC). Give an earlier time.")
    return loaded_at


def ingest(
    warehouse: Warehouse,
    settings: Settings,
    judge: Judge,
    *,
    reopen: Callable[[datetime], None],
    as_of: datetime | None = None,
    allowed: Allowed = NOTHING_ALLOWED,
) -> list[FeedLoad]:
    """Takes both files of the inputs folder as one load; a load that was taken at this very time is not taken again.

    `reopen` takes the models' windows from a time on off their record: it is called before the load is written, so that
    none that was processed up to a later time misses it. Returns the ledger rows of the load, one per file. Raises
    FeedRefusedError where a file breaks its contract, the load's time does not fit, or the load would do what is not
    allowed; nothing was written.
    """
    create_landing(warehouse)
    with warehouse.load() as area:
        # Not before: who waited for another load comes after it.
        last = last_loaded_at(warehouse)
        known = {feed.name: _resent(warehouse, settings, feed) for feed in FEEDS}
        taken = [load for load in known.values() if load]
        if as_of and as_of == last and len(taken) == len(FEEDS):
            return taken
        loaded_at = choose_loaded_at(as_of, last)
        _clear_uncommitted(warehouse)
        # Both files are looked at before a row is written: a refusal leaves nothing behind on any engine.
        parsed = _read_feeds(area, settings, [feed for feed in FEEDS if not known[feed.name]])
        files = [
            _resent_file(load, loaded_at)
            if (load := known[feed.name])
            else _compared_file(warehouse, area, settings, parsed[feed.name], loaded_at, allowed)
            for feed in FEEDS
        ]
        differing = [file.changes for file in files if file.changes]
        if differing and not allowed.quarantine:
            outlook = Outlook(warehouse, area, judge, differing, timestamp_literal(loaded_at))
            for feed in FEEDS:
                refuse_mass_quarantine(outlook, feed, settings)
            refuse_lost_rows(outlook, settings)
        reopen(loaded_at)
        for file in files:
            _append(warehouse, file)
        loads = [file.ledger for file in files]
        _commit(warehouse, area, loads, loaded_at)
    return loads


def _clear_uncommitted(warehouse: Warehouse) -> None:
    """Deletes the rows of loads that are not in the ledger: an ingest on an engine without transactions was stopped, or
    a person took a load out."""
    # In two steps: Delta's DELETE takes no subquery.
    uncommitted = " UNION ".join(
        f"SELECT '{table}', loaded_at FROM landing.{table} WHERE loaded_at NOT IN (SELECT loaded_at FROM landing.load)"
        for table in (*(feed.name for feed in FEEDS), "reject", "unseen")
    )
    for table, loaded_at in warehouse.fetch(uncommitted):
        warehouse.execute(f"DELETE FROM landing.{table} WHERE loaded_at = {timestamp_literal(loaded_at)}")


def _commit(warehouse: Warehouse, area: LoadArea, loads: Sequence[FeedLoad], loaded_at: datetime) -> None:
    """Writes the ledger, both files in one statement: on an engine without transactions it is the commit, so that it is
    also what finds out whether all of the load is there. Raises PipelineError where it is not: nothing is committed."""
    moment = timestamp_literal(loaded_at)
    expected = {f"landing.{load.feed}": load.new_count + load.changed_count + load.gone_count for load in loads}
    expected["landing.reject"] = sum(load.rejected_count for load in loads)
    landed = {table: f"(SELECT COUNT(*) FROM {table} WHERE loaded_at = {moment})" for table in expected}
    is_whole = " AND ".join(f"{landed[table]} = {count}" for table, count in expected.items())
    rows = ", ".join(row_literal(astuple(load)) for load in loads)
    warehouse.execute(
        f"INSERT INTO landing.load SELECT * FROM (VALUES {rows}) AS ledger "
        f"WHERE NOT EXISTS (SELECT 1 FROM landing.load WHERE loaded_at = {moment}) "
        f"AND {area.may_commit} AND {is_whole}"
    )
    ((committed, *counts),) = warehouse.fetch(
        f"SELECT (SELECT COUNT(*) FROM landing.load WHERE loaded_at = {moment}), {', '.join(landed.values())}"
    )
    if committed != len(loads):
        differing = [
            f"{count:,} of {expected[table]:,} rows are in {table}"
            for table, count in zip(expected, counts, strict=True)
            if count != expected[table]
        ]
        raise PipelineError(
            f"The load of {loaded_at} was not taken: {', '.join(differing) or 'another ingest has begun meanwhile'}.",
            "What it left is not seen by anything, and the next ingest clears it: run again.",
        )


@dataclass(frozen=True)
class _File:
    """A file that may be taken: its ledger row, and what is new, changed or gone; as SQL its rejects, and the keys
    (record_key) that were not seen in it and stay open."""

    ledger: FeedLoad
    changes: CapturedChanges | None = None
    rejects: str | None = None
    unseen: str | None = None


def _resent(warehouse: Warehouse, settings: Settings, feed: Feed) -> FeedLoad | None:
    """The ledger row of the last load of a feed whose file is byte for byte the same; None for another or no file."""
    path = settings.input_path / feed.file_name
    columns = ", ".join(column.name for column in fields(FeedLoad))
    last = warehouse.fetch(
        f"SELECT {columns} FROM landing.load WHERE feed = '{feed.name}' ORDER BY loaded_at DESC LIMIT 1"
    )
    if not last or not path.is_file():
        return None
    known = FeedLoad(*last[0])
    return known if (sha256_of(path), feed.reading(settings.feed_encoding)) == (known.sha256, known.encoding) else None


def _resent_file(known: FeedLoad, loaded_at: datetime) -> _File:
    """A file that is that of the last load: nothing can have changed, so it is not parsed again."""
    unchanged = known.rows_read_count - known.duplicate_count
    ledger = replace(known, loaded_at=loaded_at, new_count=0, changed_count=0, gone_count=0, unchanged_count=unchanged)
    if not known.rejected_count:
        return _File(ledger)
    of_last_load = f"WHERE feed = '{known.feed}' AND loaded_at = {timestamp_literal(known.loaded_at)}"
    return _File(ledger, None, *(f"landing.{table} {of_last_load}" for table in ("reject", "unseen")))


def _read_feeds(area: LoadArea, settings: Settings, feeds: Sequence[Feed]) -> dict[str, ParsedFeed]:
    """Reads the files side by side: much of reading one keeps one core busy only. Of two that break their contract the
    first is refused."""
    read = partial(read_feed, encoding=settings.feed_encoding, max_rejected_share=settings.max_rejected_share)
    paths = [settings.input_path / feed.file_name for feed in feeds]
    with ThreadPoolExecutor() as readers:
        parsed = readers.map(read, [area.parser() for _ in feeds], feeds, paths)
        return {one.feed.name: one for one in parsed}


def _compared_file(
    warehouse: Warehouse, area: LoadArea, settings: Settings, parsed: ParsedFeed, loaded_at: datetime, allowed: Allowed
) -> _File:
    feed, path = parsed.feed, parsed.path
    changes = capture_changes(area, parsed)
    counts = count_changes(warehouse, changes)
    if counts.rows_read_count != parsed.rows_read_count:
        raise PipelineError(
            f"{path}: {parsed.rows_read_count} rows were read, but {counts.rows_read_count} came out of the "
            "comparison. Nothing was written. This is a fault of the pipeline: keep the file and report it."
        )
    if not allowed.removals:
        refuse_truncated_feed(counts, path, settings.max_removed_share)
    if not allowed.shift:
        refuse_emptied_column(warehouse, changes, counts, path, settings.max_column_shift)
    ledger = FeedLoad(
        loaded_at=loaded_at,
        feed=feed.name,
        file_name=feed.file_name,
        sha256=parsed.sha256,
        byte_count=parsed.byte_count,
        data_line_count=parsed.data_line_count,
        rows_read_count=parsed.rows_read_count,
        new_count=counts.new_count,
        changed_count=counts.changed_count,
        gone_count=counts.missing_key_count if changes.closes_missing_keys else 0,
        unchanged_count=counts.unchanged_count,
        duplicate_count=counts.duplicate_count,
        rejected_count=parsed.rejected_count,
        encoding=feed.reading(settings.feed_encoding),
    )
    is_differing = counts.new_count or counts.changed_count or counts.missing_key_count
    unseen = None if changes.closes_missing_keys else f"({changes.keys_not_seen}) AS missing"
    return _File(ledger, changes if is_differing else None, changes.rejects, unseen)


def _append(warehouse: Warehouse, file: _File) -> None:
    """Appends what there is of a file to the landing zone, once."""
    moment, feed = timestamp_literal(file.ledger.loaded_at), text_literal(file.ledger.feed)
    if file.changes:
        append_changes(warehouse, file.changes, moment)
    of_file = f"{moment} AS loaded_at, {feed} AS feed, {text_literal(file.ledger.file_name)} AS file_name"
    is_there = f"loaded_at = {moment} AND feed = {feed}"
    if file.rejects:
        rejects = f"SELECT {of_file}, line_number, reason, detail, raw_text FROM {file.rejects}"
        append_once(warehouse, "reject", rejects, is_there)
    if file.unseen:
        append_once(warehouse, "unseen", f"SELECT {of_file}, record_key FROM {file.unseen}", is_there)
