"""The check at the end of a run: every landed row has reached staging or quarantine."""

from __future__ import annotations

from datetime import datetime

from scripts.errors import BlockingAuditError
from scripts.feeds import FEEDS, Feed
from scripts.warehouse import Warehouse


def reconcile(warehouse: Warehouse) -> None:
    """Compares, load by load, the rows in the landing zone with those in staging and quarantine.

    Raises:
        BlockingAuditError: A load has more or fewer rows there than landed.
    """
    missed = [
        f"{feed.name} load of {loaded_at}: {landed:,} rows landed, {reached:,} reached staging or quarantine"
        for feed in FEEDS
        for loaded_at, landed, reached in missing_loads(warehouse, feed)
    ]
    if missed:
        raise BlockingAuditError(
            "Landed rows are missing from the models:\n" + "\n".join(missed) + "\nA window that was on record as "
            "processed did not hold them. Run once with --full-refresh: it rebuilds every model from the landing zone."
        )


def first_missing_load(warehouse: Warehouse) -> datetime | None:
    """Time of the first load of which not every row has arrived; None where all have."""
    return min((loaded_at for feed in FEEDS for loaded_at, *_ in missing_loads(warehouse, feed)), default=None)


def missing_loads(warehouse: Warehouse, feed: Feed) -> list[tuple[datetime, int, int]]:
    """The loads of which not every row has arrived: time, rows landed, rows in staging and quarantine."""
    return warehouse.fetch(
        f"""
        SELECT loaded_at, SUM(landed), SUM(reached)
        FROM (
            SELECT loaded_at, COUNT(*) AS landed, 0 AS reached FROM source.src_{feed.name} GROUP BY loaded_at
            UNION ALL
            SELECT loaded_at, 0, COUNT(*) FROM staging.stg_{feed.name} GROUP BY loaded_at
            UNION ALL
            SELECT loaded_at, 0, COUNT(*) FROM staging.quarantine_{feed.name} GROUP BY loaded_at
        ) AS counted
        GROUP BY loaded_at
        HAVING SUM(landed) <> SUM(reached)
        ORDER BY loaded_at
    """
    )
