"""The check at the end of a run: the landing zone holds every row that its ledger counted, and every landed row has
been judged, and so is in staging or in quarantine."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from scripts.errors import BlockingAuditError
from scripts.feeds import FEEDS
from scripts.sql import timestamp_literal
from scripts.warehouse import Warehouse


def check_ledger(warehouse: Warehouse) -> None:
    """Raises BlockingAuditError where the landing zone has more or fewer rows of a load than the ledger counted."""
    differences, remedy = ledger_differences(warehouse)
    if differences:
        raise BlockingAuditError("\n".join(["The landing zone is not what its ledger counted:", *differences, remedy]))


def ledger_differences(warehouse: Warehouse) -> tuple[list[str], str]:
    """Names, in order, the committed loads of which the landing zone holds more or fewer rows than the ledger counted,
    and says what to do."""
    landed = "\n".join(
        f"UNION ALL SELECT '{feed.name}', loaded_at, 0, 0, COUNT(*), 0, 0 FROM landing.{feed.name} GROUP BY loaded_at"
        for feed in FEEDS
    )
    rows = warehouse.fetch(f"""
        SELECT feed, loaded_at, SUM(counted), SUM(landed), SUM(counted_rejects), SUM(rejects)
        FROM (
            SELECT
                feed, loaded_at, 1 AS committed, new_count + changed_count + gone_count AS counted, 0 AS landed,
                rejected_count AS counted_rejects, 0 AS rejects
            FROM landing.load
            {landed}
            UNION ALL SELECT feed, loaded_at, 0, 0, 0, 0, COUNT(*) FROM landing.reject GROUP BY feed, loaded_at
        ) AS counts
        GROUP BY feed, loaded_at
        HAVING SUM(committed) > 0 AND (SUM(counted) <> SUM(landed) OR SUM(counted_rejects) <> SUM(rejects))
        ORDER BY loaded_at, feed
    """)
    return [_difference(*row) for row in rows], _remedy(rows[0][1]) if rows else ""


def _difference(feed: str, loaded_at: datetime, counted: int, landed: int, counted_rejects: int, rejects: int) -> str:
    found = []
    if counted != landed:
        found.append(f"{landed:,} of {counted:,} rows are in landing.{feed}")
    if counted_rejects != rejects:
        found.append(f"{rejects:,} of {counted_rejects:,} rejected lines are in landing.reject")
    return f"{feed} load of {loaded_at}: {', '.join(found)}"


def _remedy(since: datetime) -> str:
    # Nothing else holds what landed.
    return (
        "Everything is built from the landing zone, so no refresh mends it: put its tables back as they were (a copy "
        "of the database; on Databricks RESTORE TABLE). Where that can't be had, go back to before the first of these "
        f"loads, DELETE FROM landing.load WHERE loaded_at >= {timestamp_literal(since)}, take the files from then on "
        "again, in order (`python -m scripts.pipeline ingest --as-of ...` for each), and end with `python -m "
        "scripts.pipeline run --full-refresh`."
    )


def reconcile(warehouse: Warehouse, run_again_from: Callable[[datetime], None] | None = None) -> None:
    """Compares, load by load, the rows in the landing zone with the ledger and with those in staging and quarantine;
    raises BlockingAuditError where they are more or fewer. `run_again_from` is called with the time of the first load
    of which not every row has arrived, before it is given up."""
    check_ledger(warehouse)
    missed = missing_loads(warehouse)
    if missed and run_again_from:
        run_again_from(min(loaded_at for _, loaded_at, *_ in missed))
        missed = missing_loads(warehouse)
    if missed:
        lines = (
            f"{feed} load of {loaded_at}: {landed:,} rows landed, {reached:,} reached staging or quarantine\n"
            for feed, loaded_at, landed, reached in missed
        )
        raise BlockingAuditError(
            f"Landed rows are missing from the models:\n{''.join(lines)}A window that was on record as processed did "
            "not hold them. Run once with --full-refresh: it rebuilds every model from the landing zone."
        )


def missing_loads(warehouse: Warehouse) -> list[tuple[str, datetime, int, int]]:
    """The loads of which not every row has arrived: feed, time, rows landed, rows in staging and quarantine."""
    return [(feed.name, *load) for feed in FEEDS for load in warehouse.fetch(_missing_query(feed.name))]


def _missing_query(feed: str) -> str:
    return f"""
        SELECT loaded_at, SUM(landed), SUM(reached)
        FROM (
            SELECT loaded_at, COUNT(*) AS landed, 0 AS reached FROM source.src_{feed} GROUP BY loaded_at
            UNION ALL
            SELECT loaded_at, 0, COUNT(*) FROM staging.judged_{feed} GROUP BY loaded_at
        ) AS counted
        GROUP BY loaded_at
        HAVING SUM(landed) <> SUM(reached)
        ORDER BY loaded_at
    """
