"""The times of a run. All are UTC without zone; SQLMesh counts in milliseconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

# The windows of all models begin here: none would ever cover an earlier load.
FIRST_LOAD_AT = datetime(2020, 1, 1)


def utc_now() -> datetime:
    """Now, as naive UTC."""
    return datetime.now(UTC).replace(tzinfo=None)


def end_of_window(last_moment: datetime) -> datetime:
    """The first whole millisecond after a moment: windows are half-open, so it is the earliest end that takes it in."""
    return last_moment.replace(microsecond=last_moment.microsecond // 1000 * 1000) + timedelta(milliseconds=1)


def hour_of(moment: datetime) -> datetime:
    """Begin of the hour that a moment lies in."""
    return moment.replace(minute=0, second=0, microsecond=0)


def from_milliseconds(timestamp: int) -> datetime:
    """Naive UTC of SQLMesh's epoch milliseconds."""
    return datetime.fromtimestamp(timestamp / 1000, UTC).replace(tzinfo=None)
