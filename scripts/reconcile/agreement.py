"""Marts, files and history agree: accounts, balances and interest by tier, summed from each.

Audits look at the rows of a window; this looks at all of them, with sums, one pass each.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from scripts.errors import BlockingAuditError
from scripts.warehouse import Warehouse


class Tier(NamedTuple):
    """One row of `reference.interest_rate_tier`."""

    balance_from_amount: Decimal
    interest_rate_pct: Decimal
    loan_bonus_pct: Decimal


class Sums(NamedTuple):
    """Accounts, their balances and their yearly interest."""

    accounts: int
    balance_amount: Decimal
    interest_amount: Decimal

    def __str__(self) -> str:
        return f"{self.accounts:,} accounts, balances {self.balance_amount:,}, interest {self.interest_amount:,}"


NOTHING = Sums(0, Decimal("0.00"), Decimal("0.00"))
# The product of most balances has room in the narrow type, with which DuckDB is many times faster.
_INTEREST = (
    "CASE WHEN balance_amount < 100000000000 THEN ROUND(CAST(balance_amount AS DECIMAL(18, 2)) * rate, 2) "
    "ELSE ROUND(CAST(balance_amount AS DECIMAL(28, 2)) * rate, 2) END"
)
# By place of the tier, from 0; -1 is a balance below all of them.
SumsByTier = dict[int, Sums]


def tiers_of(warehouse: Warehouse) -> list[Tier]:
    """The rates, the lowest balance first."""
    columns = ", ".join(Tier._fields)
    rows = warehouse.fetch(f"SELECT {columns} FROM reference.interest_rate_tier ORDER BY balance_from_amount")
    return [Tier(*row) for row in rows]


def sums_of_mart(warehouse: Warehouse, tiers: Sequence[Tier]) -> SumsByTier:
    """What `marts.account_summary` holds."""
    return sums_by_tier(warehouse.fetch(sums_query(tiers, "marts.account_summary")))


def sums_query(tiers: Sequence[Tier], summary: str) -> str:
    """Query of the sums of a relation with the mart's columns: place of the tier, accounts, balances, interest."""
    place = _by_tier("original_balance_amount", tiers, range(len(tiers)), "-1")
    return (
        "SELECT place, COUNT(*), SUM(original_balance_amount), SUM(annual_interest_amount) FROM "
        f"(SELECT original_balance_amount, annual_interest_amount, {place} AS place FROM {summary}) AS placed "
        "GROUP BY place"
    )


def sums_by_tier(rows: Sequence[Sequence[Any]]) -> SumsByTier:
    """The rows of `sums_query`."""
    return {int(place): Sums(int(accounts), balance, interest) for place, accounts, balance, interest in rows}


def refuse_disagreement(warehouse: Warehouse) -> None:
    """Raises BlockingAuditError where the marts hold other accounts, balances or interest than history calls for."""
    tiers = tiers_of(warehouse)
    expected, summary = _sums_of_history(warehouse, tiers), sums_of_mart(warehouse, tiers)
    differences = [
        f"{_name(tiers, place)}: {summary.get(place, NOTHING)}; history calls for {expected.get(place, NOTHING)}"
        for place in sorted({*expected, *summary})
        if summary.get(place, NOTHING) != expected.get(place, NOTHING)
    ]
    profiles, total = _sums_of_profiles(warehouse), Sums._make(map(sum, zip(NOTHING, *summary.values(), strict=True)))
    if not differences and profiles != total:
        differences = [f"marts.customer_profile: {profiles}; marts.account_summary holds {total}"]
    if differences:
        raise BlockingAuditError(
            "The marts do not hold what history calls for:\n" + "\n".join(differences) + "\nA table was damaged. Run "
            "once with --full-refresh: it rebuilds every model from the landing zone.",
            quotes=differences,  # of one account the sum is its balance
        )


def _sums_of_history(warehouse: Warehouse, tiers: Sequence[Tier]) -> SumsByTier:
    """What the open versions of savings accounts with an open customer come to by the rates."""
    rate = _by_tier("balance_amount", tiers, [tier.interest_rate_pct for tier in tiers], "NULL")
    bonus = _by_tier("balance_amount", tiers, [tier.loan_bonus_pct for tier in tiers], "NULL")
    place = _by_tier("balance_amount", tiers, range(len(tiers)), "-1")
    rows = warehouse.fetch(f"""
        SELECT place, COUNT(*), SUM(balance_amount), SUM({_INTEREST})
        FROM (
          SELECT
            account.balance_amount,
            {place} AS place,
            CAST({rate} + CASE WHEN customer.has_loan_flag THEN {bonus} ELSE 0 END AS DECIMAL(6, 4)) AS rate
          FROM snapshots.snap_account AS account
          JOIN snapshots.snap_customer AS customer
            ON customer.customer_id = account.customer_id AND customer.valid_to_at IS NULL
          WHERE account.valid_to_at IS NULL AND account.account_type = 'savings'
        ) AS earning
        GROUP BY place
    """)
    return sums_by_tier(rows)


def _sums_of_profiles(warehouse: Warehouse) -> Sums:
    ((accounts, balance, interest),) = warehouse.fetch(
        "SELECT COALESCE(SUM(total_accounts_count), 0), COALESCE(SUM(total_balance_amount), 0), "
        "COALESCE(SUM(total_annual_interest_amount), 0) FROM marts.customer_profile"
    )
    return Sums(int(accounts), balance, interest)


def _by_tier(balance: str, tiers: Sequence[Tier], values: Sequence[object], below: str) -> str:
    """SQL for the value that belongs to the tier of a balance."""
    cases = "".join(
        f" WHEN {balance} >= {tier.balance_from_amount} THEN {value}"
        for tier, value in reversed(list(zip(tiers, values, strict=True)))
    )
    return f"CASE{cases} ELSE {below} END" if cases else below


def _name(tiers: Sequence[Tier], place: int) -> str:
    return f"balances from {tiers[place].balance_from_amount:,}" if place >= 0 else "balances below every tier"
