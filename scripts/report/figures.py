"""What a quality report asks of the tables. Counts and keys only: no name, no balance leaves the warehouse.

Each function takes a warehouse and returns a piece of the report as plain data; what the engine raises passes through.
Cost: each function reads a table at most three times, and only its key, time and reason columns.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from datetime import datetime
from functools import partial

from scripts.feeds import Feed
from scripts.results import versions_by_name
from scripts.settings import PROJECT_ROOT
from scripts.sql import row_literal, timestamp_literal
from scripts.warehouse import Warehouse
from scripts.wording import Report

SAMPLE_SIZE = 5
_KEY_LENGTH = 64
_SEVERAL_WORDS = re.compile(r"[^\W\d_]\S*\s+\S*[^\W\d_]")
_NO_DIGIT = re.compile(r"^\D+$")
_AMOUNT = re.compile(r"^(?!.*[^\W\d])(?=.*\d)(?:[+-]|.*[$€£¥]|.*[.,]\d)")  # no letter, and a sign, currency or fraction

_NO_KEYS: Report = {"keys": 0, "rows": 0, "sample_keys": []}


def rejects(warehouse: Warehouse, loads: Collection[datetime]) -> Report:
    """Lines of these loads that could not be read, by reason: count and the first lines as `file:line`."""
    if not loads:
        return {"total": 0, "reasons": []}
    lines = f"""
        SELECT reason AS group_name, file_name, line_number FROM landing.reject WHERE loaded_at IN ({_moments(loads)})
    """
    groups = _largest_groups(warehouse, lines, "{}:{}".format, columns="file_name, line_number")
    return {
        "total": sum(group["rows"] for group in groups.values()),
        "reasons": [
            {"reason": reason, "count": group["rows"], "sample_lines": group["sample_keys"]}
            for reason, group in groups.items()
        ],
    }


def quarantine_now(warehouse: Warehouse, feed: Feed) -> Report:
    """Keys of a feed whose latest event is a row in quarantine: how many, and by reason with the first keys."""
    combinations = warehouse.fetch(
        f"SELECT DISTINCT reasons FROM staging.judged_{feed.name} WHERE reasons <> '' AND NOT is_deleted_flag"
    )
    if not combinations:
        return {"keys": 0, "rows": 0, "reasons": []}
    # Reasons are codes joined by ', '. Their parts become a table here because the engines split text in different
    # ways; the part '' stands for the whole.
    parts = ", ".join(row_literal((joined, code)) for (joined,) in combinations for code in ("", *joined.split(", ")))
    keys = f"""
        SELECT part.code AS group_name, now.record_key
        FROM ({_quarantined_now(feed)}) AS now
        JOIN (VALUES {parts}) AS part(reasons, code) ON part.reasons = now.reasons
    """
    groups = _largest_groups(warehouse, keys, partial(shown_key, feed=feed.name))
    total = groups.pop("", _NO_KEYS)
    reasons = [{"reason": code, **group} for code, group in groups.items()]
    return {"keys": total["keys"], "rows": total["rows"], "reasons": reasons}


def has_snapshot(feed: Feed) -> bool:
    """Whether the project keeps a snapshot of a feed, by a model of its own or by one for all feeds."""
    models = PROJECT_ROOT / "models" / "snapshots"
    return any((models / f"snap_{name}.sql").exists() for name in (feed.name, "@feed"))


def standing_on_older_version(warehouse: Warehouse, feed: Feed) -> Report:
    """Keys with an open version in the snapshot whose latest event is a row in quarantine."""
    keys = f"""
        SELECT version.{feed.key} AS record_key
        FROM ({_quarantined_now(feed)}) AS now
        JOIN snapshots.snap_{feed.name} AS version ON CAST(version.{feed.key} AS VARCHAR) = now.record_key
        WHERE version.valid_to_at IS NULL
    """
    return _first_keys(warehouse, keys, feed)


def held_back(warehouse: Warehouse) -> Report:
    """Accounts with an open version whose customer was never known, or is gone."""
    keys = """
        SELECT
          CASE WHEN customer.customer_id IS NULL THEN 'customer_unknown' ELSE 'customer_gone' END AS group_name,
          account.account_id AS record_key
        FROM snapshots.snap_account AS account
        LEFT JOIN (
          SELECT customer_id, COUNT(*) - COUNT(valid_to_at) AS open_count
          FROM snapshots.snap_customer
          GROUP BY customer_id
        ) AS customer ON customer.customer_id = account.customer_id
        WHERE account.valid_to_at IS NULL AND COALESCE(customer.open_count, 0) = 0
    """
    groups = _largest_groups(warehouse, keys, shown_key)
    statuses = {status: _counted(groups.get(status, _NO_KEYS)) for status in ("customer_unknown", "customer_gone")}
    return {"count": sum(status["count"] for status in statuses.values()), **statuses}


def not_seen(warehouse: Warehouse, feed: Feed) -> Report:
    """Keys that the newest file of a feed lacks and that stay open: one of its unreadable lines may be theirs."""
    keys = f"""
        SELECT record_key
        FROM landing.unseen
        WHERE feed = '{feed.name}' AND loaded_at = (SELECT MAX(loaded_at) FROM landing.load WHERE feed = '{feed.name}')
    """
    return _first_keys(warehouse, keys, feed)


def versions(warehouse: Warehouse, feed: Feed, loads: Collection[datetime]) -> Report:
    """Versions of a snapshot: in all, current, historical, per key, and those that these loads opened and closed."""
    ((total, keys, historical, opened, closed),) = warehouse.fetch(f"""
        SELECT
          COUNT(*), COUNT(DISTINCT {feed.key}), COUNT(valid_to_at),
          COUNT(CASE WHEN valid_from_at IN ({_moments(loads)}) THEN 1 END),
          COUNT(CASE WHEN valid_to_at IN ({_moments(loads)}) THEN 1 END)
        FROM snapshots.snap_{feed.name}
    """)
    return {
        "total": total,
        "current": total - historical,
        "historical": historical,
        "keys": keys,
        "average_per_key": round(total / keys, 3) if keys else None,
        "opened": opened,
        "closed": closed,
    }


def mart_rows(warehouse: Warehouse) -> Report:
    """Rows of each mart, by its name without the schema."""
    return {
        mart.removeprefix("marts."): warehouse.fetch(f"SELECT COUNT(*) FROM {mart}")[0][0]
        for mart in marts_of_prod(warehouse)
    }


def marts_of_prod(warehouse: Warehouse) -> list[str]:
    """Names of prod's marts, `marts.name`, as of the last run that ended well."""
    return sorted(name for name in model_versions(warehouse) if name.startswith("marts."))


def model_versions(warehouse: Warehouse) -> dict[str, str]:
    """The exact version of each of prod's models by its name, as of the last run that ended well."""
    ran = warehouse.fetch("SELECT model_versions FROM landing.run ORDER BY finished_at DESC LIMIT 1")
    return versions_by_name(ran[0][0]) if ran else {}


def _quarantined_now(feed: Feed) -> str:
    """A query for `record_key` and `reasons` of the rows in quarantine after which nothing came for their key."""
    return f"""
        SELECT COALESCE({feed.key_column}, '') AS record_key, reasons
        FROM staging.judged_{feed.name} AS judged
        WHERE reasons <> '' AND NOT is_deleted_flag AND NOT EXISTS (
          SELECT 1
          FROM staging.judged_{feed.name} AS newer
          WHERE COALESCE(newer.{feed.key_column}, '') = COALESCE(judged.{feed.key_column}, '')
            AND newer.loaded_at > judged.loaded_at
        )
    """


def _first_keys(warehouse: Warehouse, keys: str, feed: Feed) -> Report:
    """How many keys of a feed a query has, and the first of them."""
    items = f"SELECT 'all' AS group_name, record_key FROM ({keys}) AS found"
    return _counted(_largest_groups(warehouse, items, partial(shown_key, feed=feed.name)).get("all", _NO_KEYS))


def _counted(group: Report) -> Report:
    return {"count": group["keys"], "sample_keys": group["sample_keys"]}


def _largest_groups(
    warehouse: Warehouse, items: str, show: Callable[..., str], columns: str = "record_key"
) -> dict[str, Report]:
    """The groups of a query for `group_name` and `columns`, which are a row's key: those with most keys first."""
    rows = warehouse.fetch(f"""
        SELECT group_name, key_count, row_count, {columns}
        FROM (
          SELECT
            group_name, {columns},
            COUNT(*) OVER (PARTITION BY group_name) AS key_count,
            SUM(COUNT(*)) OVER (PARTITION BY group_name) AS row_count,
            ROW_NUMBER() OVER (PARTITION BY group_name ORDER BY {columns}) AS place
          FROM ({items}) AS item
          GROUP BY group_name, {columns}
        ) AS ranked
        WHERE place <= {SAMPLE_SIZE}
        ORDER BY key_count DESC, group_name, place
    """)
    groups: dict[str, Report] = {}
    for name, key_count, row_count, *key in rows:
        group = groups.setdefault(name, {"keys": key_count, "rows": row_count, "sample_keys": []})
        group["sample_keys"].append(show(*map(str, key)))
    return groups


def _moments(loads: Collection[datetime]) -> str:
    """The times of loads as a list of SQL; of none a list that nothing is in."""
    return ", ".join(map(timestamp_literal, sorted(loads))) or "NULL"


def shown_key(key: str, feed: str = "account") -> str:
    """A key as it may be shown: shortened; one that may be a name or a balance in the wrong column, by its shape.

    Accounts come without names, so a single word may be the key of one; of a customer it is none.

    >>> shown_key("A-17"), shown_key("Jane Doe"), shown_key("Jane", "customer"), shown_key("1250.00")
    ('A-17', 'Xxxx Xxx', 'Xxxx', '9999.99')
    """
    if _SEVERAL_WORDS.search(key) or (feed == "customer" and _NO_DIGIT.search(key)):
        key = "".join(("X" if letter.isupper() else "x") if letter.isalpha() else letter for letter in key)
    elif _AMOUNT.search(key):
        key = "".join("9" if letter.isdigit() else letter for letter in key)
    return key if len(key) <= _KEY_LENGTH else key[: _KEY_LENGTH - 1] + "…"
