"""What a load would come to in the models, worked out before it is taken: a load that is refused leaves no trace.

Its rows are judged by the models' own rules (`staging.judged_*`). What holds before it is what the snapshots have open,
with what they have not seen yet of the loads already taken.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress

import duckdb

from scripts.errors import BlockingAuditError, PipelineError, reason
from scripts.feeds import ACCOUNT, CUSTOMER, FEEDS, Feed
from scripts.ingest.change_capture import CapturedChanges, change_log_rows, is_committed
from scripts.sql import timestamp_literal
from scripts.warehouse import LoadArea, Warehouse

# Gives the rules of validity as a query over the rows of another query, which has the columns of the feed's change log.
Judge = Callable[[Feed, str], str]

# What decides on a place in the marts, as the snapshots name it; the key comes first.
_HELD_COLUMNS = {CUSTOMER.name: ("customer_id",), ACCOUNT.name: ("account_id", "customer_id", "account_type")}


# A number of things, and how many of them a load would do away with, by reason.
Loss = tuple[int, Counter[str]]


class Outlook:
    """The rows of one load, and of the loads that history has not seen yet, judged."""

    def __init__(
        self, warehouse: Warehouse, area: LoadArea, judge: Judge, changes: Sequence[CapturedChanges], loaded_at: str
    ) -> None:
        """Judges the rows of `changes`, of the files that may hold something new, dated `loaded_at` (an SQL timestamp
        literal). Raises BlockingAuditError where the rules fail on them."""
        self._warehouse, self._area, self._loaded_at = warehouse, area, loaded_at
        self._has_history = _has_history(warehouse)
        # Those on which a place in the marts rests, and those of which the load brings something.
        feeds = [feed for feed in FEEDS if feed.name in _HELD_COLUMNS or feed in [one.feed for one in changes]]
        self._judged = {feed.name: self._judge(judge, feed, changes) for feed in feeds}

    def reasons(self, feed: Feed) -> tuple[int, Counter[str]]:
        """The load's new and changed rows of a feed, and how many of them break each rule."""
        if feed.name not in self._judged:
            return 0, Counter()
        rows = self._warehouse.fetch(
            f"SELECT reasons, COUNT(*) FROM {self._judged[feed.name]} "
            f"WHERE loaded_at = {self._loaded_at} AND NOT is_deleted_flag GROUP BY reasons"
        )
        broken: Counter[str] = Counter()
        for reasons, count in rows:
            broken.update(dict.fromkeys(reasons.split(", ") if reasons else (), count))
        return sum(count for _, count in rows), broken

    def effect(self) -> tuple[Loss, dict[str, Loss]]:
        """What the load does to the accounts that stay in the feed, and to their rows in the marts: the valid accounts
        after it, of which it leaves so many without a known customer (those that had none before are not among them),
        and by mart the rows before it, of which it takes out so many."""
        fates = self._area.scratch("account_fate", self._account_fates())
        fate = "held_back, owner_before IS NOT NULL, owner_after IS NOT NULL"
        accounts = self._warehouse.fetch(f"SELECT {fate}, COUNT(*) FROM {fates} GROUP BY {fate}")
        savers = f"""
            SELECT COUNT(DISTINCT owner_before), COUNT(DISTINCT CASE WHEN owner_after IS NULL THEN owner_before END)
            FROM (SELECT owner_before FROM {fates}) AS earned
            LEFT JOIN (SELECT DISTINCT owner_after FROM {fates}) AS earning ON owner_after = owner_before
            """
        ((profiles, lost_profiles),) = self._warehouse.fetch(savers)
        held_back, lost_summaries = Counter[str](), Counter[str]()
        for why, earned, earns, count in accounts:
            if why:
                held_back[why] += count
            if earned and not earns:
                lost_summaries[why or "no_longer_savings"] += count
        summaries = sum(count for _, earned, _, count in accounts if earned)
        return (sum(count for *_, count in accounts), held_back), {
            "account_summary": (summaries, lost_summaries),
            "customer_profile": (profiles, Counter({"no_savings_account_left": lost_profiles})),
        }

    def _judge(self, judge: Judge, feed: Feed, changes: Sequence[CapturedChanges]) -> str:
        rows = [change_log_rows(captured, self._loaded_at) for captured in changes if captured.feed == feed]
        held: tuple[str, ...] = ()
        if feed.name in _HELD_COLUMNS:
            rows.append(self._unseen(feed))
            key, *others = _HELD_COLUMNS[feed.name]
            # A valid key is its own text.
            held = (f"{feed.key_column} AS {key}" if feed == ACCOUNT else key, *others)
        columns = ", ".join(("loaded_at", "is_deleted_flag", "reasons", *held))
        judged = judge(feed, " UNION ALL ".join(rows))
        try:
            return self._area.scratch(f"judged_{feed.name}", f"SELECT {columns} FROM ({judged}) AS judged")
        except (duckdb.Error, PipelineError) as error:
            raise BlockingAuditError(
                f"staging.judged_{feed.name}: {reason(error)}\nNothing was loaded. Mend the cause and run again."
            ) from error

    def _unseen(self, feed: Feed) -> str:
        """The query of the rows of committed loads that history has not seen."""
        rows = f"SELECT {', '.join(feed.change_log)} FROM landing.{feed.name} WHERE {is_committed(feed.name)}"
        if not self._has_history:
            return rows
        newest = "MAX(COALESCE(valid_to_at, valid_from_at))"
        ((seen,),) = self._warehouse.fetch(f"SELECT {newest} FROM snapshots.snap_{feed.name}")
        return f"{rows} AND loaded_at > {timestamp_literal(seen)}" if seen else rows

    def _held(self, feed: Feed) -> str:
        """The query of what holds of a feed before the load."""
        key, columns = _HELD_COLUMNS[feed.name][0], ", ".join(_HELD_COLUMNS[feed.name])
        unseen = f"""(
            SELECT {columns}, is_deleted_flag, ROW_NUMBER() OVER (PARTITION BY {key} ORDER BY loaded_at DESC) AS age
            FROM {self._judged[feed.name]}
            WHERE reasons = '' AND loaded_at < {self._loaded_at}
        ) AS unseen"""
        parts = [f"SELECT {columns} FROM {unseen} WHERE age = 1 AND NOT is_deleted_flag"]
        if self._has_history:
            parts.append(
                f"SELECT {columns} FROM snapshots.snap_{feed.name} AS snap WHERE valid_to_at IS NULL "
                f"AND NOT EXISTS (SELECT 1 FROM {unseen} WHERE unseen.{key} = snap.{key})"
            )
        return " UNION ALL ".join(parts)

    def _standing(self, feed: Feed) -> str:
        """The query of what holds of a feed with the load, by key, and what held before it (`previous_*`)."""
        key, *_ = columns = _HELD_COLUMNS[feed.name]
        both = (f"COALESCE(brought.{name}, held.{name}) AS {name}, held.{name} AS previous_{name}" for name in columns)
        return f"""
            SELECT {", ".join(both)}, held.{key} IS NOT NULL AS was_there,
                NOT COALESCE(brought.is_deleted_flag, FALSE) AS is_there
            FROM ({self._held(feed)}) AS held
            FULL JOIN (
                SELECT {", ".join(columns)}, is_deleted_flag
                FROM {self._judged[feed.name]}
                WHERE reasons = '' AND loaded_at = {self._loaded_at}
            ) AS brought ON brought.{key} = held.{key}
            """

    def _account_fates(self) -> str:
        """The query of the accounts that stay in the feed: `held_back`, where the load does that, the reason; and of
        an account in the marts, before and after, its customer."""
        return f"""
            WITH customer AS ({self._standing(CUSTOMER)}), account AS ({self._standing(ACCOUNT)})
            SELECT
                CASE
                    WHEN customer.is_there THEN NULL
                    WHEN account.previous_customer_id IS NOT NULL AND NOT COALESCE(previous.was_there, FALSE) THEN NULL
                    WHEN customer.was_there THEN 'customer_gone'
                    ELSE 'customer_unknown'
                END AS held_back,
                CASE WHEN previous.was_there AND previous_account_type = 'savings' THEN account.previous_customer_id END
                    AS owner_before,
                CASE WHEN customer.is_there AND account_type = 'savings' THEN account.customer_id END AS owner_after
            FROM account
            LEFT JOIN customer AS previous ON previous.customer_id = account.previous_customer_id
            LEFT JOIN customer ON customer.customer_id = account.customer_id
            WHERE account.is_there
            """


def _has_history(warehouse: Warehouse) -> bool:
    """Whether the snapshots can be read: before the first plan, or after a loss, all that is known is the log."""
    with suppress(duckdb.Error, PipelineError):
        for name in _HELD_COLUMNS:
            warehouse.fetch(f"SELECT 1 FROM snapshots.snap_{name} LIMIT 0")
        return True
    return False
