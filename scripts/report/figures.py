"""What a quality report asks of the tables. Counts and keys only: no name, no balance leaves the warehouse.

Each function takes a warehouse and returns a piece of the report as plain data; what the engine raises passes through.
Cost: each function reads a snapshot or staging table at most twice, and only its key and time columns.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import datetime
from typing import Any

from scripts.results import versions_by_name
from scripts.sql import text_literal, timestamp_literal
from scripts.warehouse import Warehouse

SAMPLE_SIZE = 5
_KEY_LENGTH = 64
_SEVERAL_WORDS = re.compile(r"[^\W\d_]\S*\s+\S*[^\W\d_]")
_NO_DIGIT = re.compile(r"^\D+$")
_AMOUNT = re.compile(r"^(?!.*[^\W\d])(?=.*\d)(?:[+-]|.*[$€£¥]|.*[.,]\d)")  # no letter, and a sign, currency or fraction
_STAGING_KEYS = {"customer": "CAST(s.customer_id AS VARCHAR)", "account": "s.account_id"}

Report = dict[str, Any]


def rejects(warehouse: Warehouse, loads: Collection[datetime]) -> Report:
    """Lines of these loads that could not be read, by reason: count and the first lines as `file:line`."""
    if not loads:
        return {"total": 0, "reasons": []}
    rows = warehouse.fetch(f"""
        SELECT reason, line_count, file_name, line_number
        FROM (
          SELECT
            reason, file_name, line_number,
            COUNT(*) OVER (PARTITION BY reason) AS line_count,
            ROW_NUMBER() OVER (PARTITION BY reason ORDER BY file_name, line_number) AS place
          FROM landing.reject
          WHERE loaded_at IN ({_moments(loads)})
        ) AS ranked
        WHERE place <= {SAMPLE_SIZE}
        ORDER BY reason, place
    """)
    reasons: dict[str, Report] = {}
    for reason, count, file_name, line in rows:
        entry = reasons.setdefault(reason, {"reason": reason, "count": int(count), "sample_lines": []})
        entry["sample_lines"].append(f"{file_name}:{line}")
    return {"total": sum(entry["count"] for entry in reasons.values()), "reasons": _largest_first(reasons, "count")}


def quarantine_now(warehouse: Warehouse, feed: str) -> Report:
    """Keys of a feed whose latest event is a row in quarantine: how many, and by reason with the first keys."""
    combinations = warehouse.fetch(
        f"SELECT DISTINCT reasons FROM staging.quarantine_{feed} WHERE NOT is_deleted_flag ORDER BY reasons"
    )
    if not combinations:
        return {"keys": 0, "rows": 0, "reasons": []}
    # Reasons are codes joined by ', '. Their parts become a table here because the engines split text in different
    # ways; the part '' stands for the whole.
    parts = ", ".join(
        f"({text_literal(joined)}, {text_literal(code)})"
        for (joined,) in combinations
        for code in ("", *joined.split(", "))
    )
    groups = _first_keys(
        warehouse,
        feed,
        f"""
        WITH {_now(feed)},
        item AS (
          SELECT part.code AS group_name, now.record_key, COUNT(*) AS row_count
          FROM now
          JOIN (VALUES {parts}) AS part(reasons, code) ON now.reasons = part.reasons
          GROUP BY part.code, now.record_key
        )
        """,
    )
    total = groups.pop("", None)
    reasons = {
        code: {"reason": code, "keys": group["keys"], "rows": group["rows"], "sample_keys": group["sample_keys"]}
        for code, group in groups.items()
    }
    return {
        "keys": total["keys"] if total else 0,
        "rows": total["rows"] if total else 0,
        "reasons": _largest_first(reasons, "keys"),
    }


def standing_on_older_version(warehouse: Warehouse, feed: str) -> Report:
    """Keys with an open version in the snapshot whose latest event is a row in quarantine."""
    key = f"{feed}_id"
    as_text = f"CAST(version.{key} AS VARCHAR)" if feed == "customer" else f"version.{key}"
    groups = _first_keys(
        warehouse,
        feed,
        f"""
        WITH {_now(feed)},
        item AS (
          SELECT 'all' AS group_name, version.{key} AS record_key, COUNT(*) AS row_count
          FROM now
          JOIN snapshots.snap_{feed} AS version ON {as_text} = now.record_key AND version.valid_to_at IS NULL
          GROUP BY version.{key}
        )
        """,
    )
    return _count_and_keys(groups.get("all"))


def held_back(warehouse: Warehouse) -> Report:
    """Accounts with an open version whose customer was never known, or is gone."""
    groups = _first_keys(
        warehouse,
        "account",
        """
        WITH open_customer AS (
          SELECT customer_id FROM snapshots.snap_customer WHERE valid_to_at IS NULL
        ),
        held AS (
          SELECT account.account_id, account.customer_id
          FROM snapshots.snap_account AS account
          LEFT JOIN open_customer ON open_customer.customer_id = account.customer_id
          WHERE account.valid_to_at IS NULL AND open_customer.customer_id IS NULL
        ),
        former AS (
          SELECT DISTINCT held.customer_id
          FROM held
          JOIN snapshots.snap_customer AS customer ON customer.customer_id = held.customer_id
        ),
        item AS (
          SELECT
            CASE WHEN former.customer_id IS NULL THEN 'customer_unknown' ELSE 'customer_gone' END AS group_name,
            held.account_id AS record_key,
            1 AS row_count
          FROM held
          LEFT JOIN former ON former.customer_id = held.customer_id
        )
        """,
    )
    parts = {status: _count_and_keys(groups.get(status)) for status in ("customer_unknown", "customer_gone")}
    return {"count": sum(part["count"] for part in parts.values()), **parts}


def not_seen(warehouse: Warehouse, feed: str) -> Report:
    """Keys that the newest file of a feed lacks and that stay open: one of its unreadable lines may be theirs."""
    groups = _first_keys(
        warehouse,
        feed,
        f"""
        WITH item AS (
          SELECT 'all' AS group_name, record_key, 1 AS row_count
          FROM landing.unseen
          WHERE feed = '{feed}' AND loaded_at = (SELECT MAX(loaded_at) FROM landing.load WHERE feed = '{feed}')
        )
        """,
    )
    return _count_and_keys(groups.get("all"))


def versions(warehouse: Warehouse, feed: str, loads: Collection[datetime]) -> Report:
    """Versions of a snapshot: in all, current, historical, per key, and those that these loads opened and closed."""
    moments = _moments(loads)
    opened, closed = (
        (f"SUM(CASE WHEN {column} IN ({moments}) THEN 1 ELSE 0 END)" if loads else "0")
        for column in ("valid_from_at", "valid_to_at")
    )
    row = warehouse.fetch(f"""
        SELECT
          COUNT(*), COUNT(DISTINCT {feed}_id), SUM(CASE WHEN valid_to_at IS NULL THEN 1 ELSE 0 END), {opened}, {closed}
        FROM snapshots.snap_{feed}
    """)[0]
    total, keys, current, opened_count, closed_count = (int(value or 0) for value in row)
    return {
        "total": total,
        "current": current,
        "historical": total - current,
        "keys": keys,
        "average_per_key": round(total / keys, 3) if keys else None,
        "opened": opened_count,
        "closed": closed_count,
    }


def mart_rows(warehouse: Warehouse) -> Report:
    """Rows of each mart, by its name without the schema."""
    return {
        mart.removeprefix("marts."): int(warehouse.fetch(f"SELECT COUNT(*) FROM {mart}")[0][0])
        for mart in marts_of_prod(warehouse)
    }


def marts_of_prod(warehouse: Warehouse) -> list[str]:
    """Names of prod's marts, `marts.name`, as of the last run that ended well."""
    return sorted(name for name in model_versions(warehouse) if name.startswith("marts."))


def model_versions(warehouse: Warehouse) -> dict[str, str]:
    """The exact version of each of prod's models by its name, as of the last run that ended well."""
    ran = warehouse.fetch("SELECT model_versions FROM landing.run ORDER BY finished_at DESC LIMIT 1")
    return versions_by_name(ran[0][0]) if ran else {}


def _now(feed: str) -> str:
    """CTEs ending in `now(record_key, reasons)`: the rows in quarantine that are their key's latest event."""
    staging_key = _STAGING_KEYS[feed]
    return f"""
        latest AS (
          SELECT COALESCE({feed}_key, '') AS record_key, MAX(loaded_at) AS loaded_at
          FROM staging.quarantine_{feed}
          GROUP BY COALESCE({feed}_key, '')
        ),
        recovered AS (
          SELECT DISTINCT latest.record_key
          FROM staging.stg_{feed} AS s
          JOIN latest ON latest.record_key = {staging_key}
          WHERE s.loaded_at > latest.loaded_at
        ),
        now AS (
          SELECT latest.record_key, quarantined.reasons
          FROM staging.quarantine_{feed} AS quarantined
          JOIN latest
            ON latest.record_key = COALESCE(quarantined.{feed}_key, '') AND latest.loaded_at = quarantined.loaded_at
          LEFT JOIN recovered ON recovered.record_key = latest.record_key
          WHERE NOT quarantined.is_deleted_flag AND recovered.record_key IS NULL
        )"""


def _first_keys(warehouse: Warehouse, feed: str, with_item: str) -> dict[str, Report]:
    """Of a feed, per group of the CTE `item(group_name, record_key, row_count)`: keys, rows and the first keys."""
    rows = warehouse.fetch(f"""
        {with_item}
        SELECT group_name, key_total, row_total, record_key
        FROM (
          SELECT
            group_name, record_key,
            COUNT(*) OVER (PARTITION BY group_name) AS key_total,
            SUM(row_count) OVER (PARTITION BY group_name) AS row_total,
            ROW_NUMBER() OVER (PARTITION BY group_name ORDER BY record_key) AS place
          FROM item
        ) AS ranked
        WHERE place <= {SAMPLE_SIZE}
        ORDER BY group_name, place
    """)
    groups: dict[str, Report] = {}
    for name, keys, row_count, key in rows:
        group = groups.setdefault(name, {"keys": int(keys), "rows": int(row_count), "sample_keys": []})
        group["sample_keys"].append(shown_key(str(key), feed))
    return groups


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


def _count_and_keys(group: Report | None) -> Report:
    return {"count": group["keys"], "sample_keys": group["sample_keys"]} if group else {"count": 0, "sample_keys": []}


def _largest_first(entries: dict[str, Report], count: str) -> list[Report]:
    return sorted(entries.values(), key=lambda entry: (-entry[count], entry["reason"]))


def _moments(loads: Collection[datetime]) -> str:
    return ", ".join(map(timestamp_literal, sorted(loads)))
