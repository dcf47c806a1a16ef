"""A generated feed of any size through the whole job, its marts compared with the plain reference row for row.

`make test` takes a small one, `make test-scale` one of five million accounts. The reference takes time with the square
of the rows, so it gets the feed in shards: a customer is in one with all accounts that ever named it, and no rule looks
beyond.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb

from benchmarks.contestants import OURS, outputs_of
from benchmarks.loads import Load as TakenLoad
from benchmarks.loads import four_loads
from benchmarks.race import measure
from scripts.feeds import ACCOUNT, CUSTOMER, Feed
from tests.compare import assert_same_rows
from tests.marts import MARTS
from tests.reference import Load, Reference, is_absent, trim

ACCOUNT_COUNT = int(os.environ.get("SCALE_ACCOUNTS", "3000"))
ACCOUNTS_PER_SHARD = 30
# So that no file of a shard is empty: a row like this is quarantined and reaches no mart.
FILLER = {CUSTOMER.name: ("", "", ""), ACCOUNT.name: ("", "", "", "")}

Rows = list[tuple[str, ...]]
Shard = list[tuple[datetime, dict[str, Rows]]]
Marts = dict[str, list[dict[str, Any]]]


def test_the_marts_of_a_generated_feed_equal_the_references(tmp_path: Path) -> None:
    loads = four_loads(ACCOUNT_COUNT, tmp_path / "feeds")
    *after_changes, after_last_change = reference_marts(loads[:-1])
    OURS.prepare(tmp_path)
    for load, expected in zip(loads, [*after_changes, after_last_change, after_last_change], strict=True):
        measure(ACCOUNT_COUNT, OURS, load, 1, tmp_path)
        for mart in MARTS:
            compare(expected[mart.name], mart.name, mart.key, outputs_of(tmp_path) / f"{mart.name}.parquet")


def compare(expected: list[dict[str, Any]], name: str, key: str, path: Path) -> None:
    """Compares without holding the file's rows: only those that differ are kept."""
    missing = {row[key]: row for row in expected}
    unexpected = []
    with duckdb.connect() as connection:
        result = connection.execute(f"SELECT * FROM '{path}'")
        columns = [column[0] for column in result.description]
        while rows := result.fetchmany(100_000):
            for values in rows:
                row = dict(zip(columns, values, strict=True))
                if missing.get(row[key]) == row:
                    del missing[row[key]]
                else:
                    unexpected.append(row)
    assert_same_rows(list(missing.values()), unexpected, f"{name}, {len(expected):,} rows")
    assert expected


def reference_marts(loads: list[TakenLoad]) -> list[Marts]:
    """The marts after each of the loads."""
    marts: list[Marts] = [{mart.name: [] for mart in MARTS} for _ in loads]
    with ProcessPoolExecutor() as pool:
        for shard_marts in pool.map(marts_of_shard, shards(loads), chunksize=50):
            for all_rows, rows in zip(marts, shard_marts, strict=True):
                for name in all_rows:
                    all_rows[name].extend(rows[name])
    return marts


def marts_of_shard(shard: Shard) -> list[Marts]:
    reference, after = Reference(), []
    for loaded_at, rows in shard:
        reference.take(Load(loaded_at, rows[CUSTOMER.name], rows[ACCOUNT.name]))
        tables = reference.tables()
        after.append({mart.name: tables[f"marts.{mart.name}"] for mart in MARTS})
    return after


def shards(loads: list[TakenLoad]) -> list[Shard]:
    """The rows of all loads, by shard."""
    owner_of_account: dict[str, str] = {}
    group_of_customer: dict[str, str] = {}

    def group(customer: str) -> str:
        while customer in group_of_customer:
            customer = group_of_customer[customer]
        return customer

    for load in loads:
        for account, customer, *_ in rows_of(load, ACCOUNT):
            if is_absent(account) or is_absent(customer):
                continue  # it is quarantined, and touches no customer
            owner = group(owner_of_account.setdefault(trim(account), trim(customer)))
            if owner != group(trim(customer)):
                group_of_customer[owner] = group(trim(customer))

    count = len(owner_of_account) // ACCOUNTS_PER_SHARD + 1
    by_shard: list[Shard] = [
        [(load.as_of, {name: [filler] for name, filler in FILLER.items()}) for load in loads] for _ in range(count)
    ]
    for position, load in enumerate(loads):
        for feed in (CUSTOMER, ACCOUNT):
            for row in rows_of(load, feed):
                key = trim(row[0])
                customer = key if feed is CUSTOMER else owner_of_account.get(key, key)
                by_shard[hash(group(customer)) % count][position][1][feed.name].append(row)
    return by_shard


def rows_of(load: TakenLoad, feed: Feed) -> Iterator[tuple[str, ...]]:
    """The sound rows of a file; all damage in a generated feed is a wrong number of fields."""
    with (load.inputs / feed.file_name).open(newline="", encoding="utf-8") as file:
        records = csv.reader(file, strict=True)
        next(records)
        yield from (tuple(record) for record in records if len(record) == len(feed.columns))
