"""The reference implementation, the feed strategies and the row comparison, on cases worked out by hand."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scripts.feeds import ACCOUNT, CUSTOMER
from tests.compare import assert_same_rows
from tests.feed_strategies import csv_styles, feed_sequences, write_feeds
from tests.reference import (
    DEFAULT_TIERS,
    LedgerCounts,
    Load,
    Reference,
    Tier,
    interest_rate,
    judge_account_id,
    judge_account_type,
    judge_balance,
    judge_customer_id,
    judge_customer_name,
    judge_has_loan,
)

T1 = datetime.fromisoformat("2024-01-15T02:00:00")
T2, T3, T4, T5 = (T1 + timedelta(days=days) for days in range(1, 5))
TIMES = (T1, T2, T3, T4, T5)

ANA = ("1", "Ana", "no")
BOB = ("2", "Bob", "no")
A1 = ("A1", "1", "100", "savings")
B1 = ("B1", "2", "50", "checking")

Rows = Sequence[tuple[str, ...]]


def after(*files: tuple[Rows, Rows]) -> dict[str, list[dict[str, Any]]]:
    """All tables after loads of these customer and account rows, one a day."""
    reference = Reference()
    for loaded_at, (customer, account) in zip(TIMES, files, strict=False):
        reference.take(Load(loaded_at, list(customer), list(account)))
    return reference.tables()


def pick(rows: list[dict[str, Any]], *columns: str) -> list[tuple[Any, ...]]:
    return [tuple(row[column] for column in columns) for row in rows]


def in_text(row: dict[str, Any]) -> tuple[Any, ...]:
    """The row's values, decimals as text so that their scale counts."""
    return tuple(str(value) if isinstance(value, Decimal) else value for value in row.values())


def account_versions(tables: dict[str, list[dict[str, Any]]], account_id: str = "A1") -> list[tuple[Any, ...]]:
    rows = [row for row in tables["snapshots.snap_account"] if row["account_id"] == account_id]
    rows.sort(key=lambda row: row["valid_from_at"])
    columns = ("customer_id", "balance_amount", "account_type", "is_deleted_flag", "valid_from_at", "valid_to_at")
    return pick(rows, *columns)


def events(tables: dict[str, list[dict[str, Any]]], account_id: str = "A1") -> list[dict[str, Any]]:
    rows = [row for row in tables["intermediate.int_account_with_customer"] if row["account_id"] == account_id]
    return sorted(rows, key=lambda row: row["event_at"])


# -------------------------------------------------------------------------------------------------------------- fields


@pytest.mark.parametrize(
    ("text", "balance"),
    [
        ("100", "100.00"),
        ("0.005", "0.01"),
        ("0.004999", "0.00"),
        ("1.004999999999999999999", "1.00"),
        ("1.005000000000000000000", "1.01"),
        ("9999.995", "10000.00"),
        ("+5", "5.00"),
        ("-0", "0.00"),
        ("-0.00", "0.00"),
        ("007.5", "7.50"),
        ("\u00a0 12.30\t", "12.30"),
        ("9999999999999999.994", "9999999999999999.99"),
        ("0" * 15 + "7", "7.00"),
        ("1." + "4" * 300, "1.44"),
    ],
)
def test_balance_is_rounded_half_up_to_cents(text: str, balance: str) -> None:
    value, reason = judge_balance(text)
    assert (str(value), reason) == (balance, None)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "balance_missing"),
        ("N/A", "balance_missing"),
        (" NULL ", "balance_missing"),
        ("1e5", "balance_invalid"),
        ("1,000", "balance_invalid"),
        ("$5", "balance_invalid"),
        ("5.", "balance_invalid"),
        (".5", "balance_invalid"),
        ("- 5", "balance_invalid"),
        ("1 000", "balance_invalid"),
        ("NaN", "balance_invalid"),
        ("\u0661", "balance_invalid"),
        ("1_000", "balance_invalid"),
        ("-5", "balance_negative"),
        ("-0.001", "balance_negative"),
        ("-" + "9" * 40, "balance_negative"),
        ("9999999999999999.995", "balance_too_large"),
        ("10000000000000000", "balance_too_large"),
        ("9" * 40, "balance_too_large"),
        ("0" * 16 + "5", "balance_too_large"),
        ("-" + "0" * 17, "balance_too_large"),
    ],
)
def test_balance_that_is_no_amount_has_one_reason(text: str, reason: str) -> None:
    assert judge_balance(text) == (None, reason)


@pytest.mark.parametrize(("text", "customer_id"), [("7", 7), (" 7\u00a0", 7), ("9" * 18, 999999999999999999)])
def test_customer_id_in_canonical_form_is_a_number(text: str, customer_id: int) -> None:
    assert judge_customer_id(text) == (customer_id, None)


@pytest.mark.parametrize("text", ["007", "+7", "-7", "0", "1" * 19, "7.0", "1e3", "x", "7 7", "\u0667", "7\u200b"])
def test_customer_id_in_any_other_form_is_invalid(text: str) -> None:
    assert judge_customer_id(text) == (None, "customer_id_invalid")


@pytest.mark.parametrize("text", ["", " ", "N/A", "n/a", "none", "None", " NULL ", "\u3000null\u0085", "\t\n"])
def test_absent_is_blank_null_na_or_none_in_any_case(text: str) -> None:
    assert judge_customer_id(text) == (None, "customer_id_missing")
    assert judge_customer_name(text) == (None, "customer_name_missing")
    assert judge_has_loan(text) == (False, None)
    assert judge_account_id(text) == (None, "account_id_missing")
    assert judge_balance(text) == (None, "balance_missing")
    assert judge_account_type(text) == (None, "account_type_missing")


@pytest.mark.parametrize("text", ["yes", "Y", "TRUE", "1", "\u00a0Yes "])
def test_has_loan_yes(text: str) -> None:
    assert judge_has_loan(text) == (True, None)


@pytest.mark.parametrize("text", ["no", "N", "False", "0", ""])
def test_has_loan_no(text: str) -> None:
    assert judge_has_loan(text) == (False, None)


@pytest.mark.parametrize("text", ["maybe", "2", "t", "01", "yes!", "y es", "-"])
def test_has_loan_of_another_value_is_invalid(text: str) -> None:
    assert judge_has_loan(text) == (None, "has_loan_invalid")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("  Ana   Lee ", "Ana Lee"),
        ("Ana\r\n\u2003\u00a0Lee", "Ana Lee"),
        ("ANA lee", "ANA lee"),
        ("\u2028Zo\u00eb\u0085", "Zo\u00eb"),
        ("null and void", "null and void"),
        ("\x1fAna\x1c", "\x1fAna\x1c"),  # str.strip() would take these; Unicode does not call them white space
        ("\u200bAna\ufeff", "\u200bAna\ufeff"),
    ],
)
def test_name_keeps_its_case_and_has_single_spaces(text: str, name: str) -> None:
    assert judge_customer_name(text) == (name, None)


@pytest.mark.parametrize("code", [*range(9, 14), 32, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F,
                                  0x205F, 0x3000])  # fmt: skip
def test_every_unicode_white_space_is_trimmed_and_joined(code: int) -> None:
    space = chr(code)
    assert judge_customer_name(f"{space}Ana{space}{space}Lee{space}") == ("Ana Lee", None)
    assert judge_account_id(f"{space}A1{space}") == ("A1", None)


def test_account_id_keeps_its_case_and_inner_white_space() -> None:
    assert judge_account_id(" a 1 ") == ("a 1", None)


def test_account_type_is_lower_case_and_one_of_two() -> None:
    assert judge_account_type(" SavingS ") == ("savings", None)
    assert judge_account_type("CHECKING") == ("checking", None)
    assert judge_account_type("brokerage") == (None, "account_type_invalid")


@pytest.mark.parametrize(
    ("balance", "has_loan", "rate"),
    [
        ("0.00", False, "0.0100"),
        ("9999.99", False, "0.0100"),
        ("10000.00", False, "0.0150"),
        ("10000.00", True, "0.0200"),
        ("19999.99", True, "0.0200"),
        ("20000.00", False, "0.0200"),
        ("20000.00", True, "0.0250"),
    ],
)
def test_rate_follows_from_balance_and_loan(balance: str, has_loan: bool, rate: str) -> None:
    assert str(interest_rate(Decimal(balance), has_loan, DEFAULT_TIERS)) == rate


def test_tiers_must_cover_a_balance_of_zero() -> None:
    with pytest.raises(ValueError, match="balance of 0"):
        Reference([Tier(Decimal("1.00"), Decimal("0.0100"), Decimal("0.0050"))])


# ------------------------------------------------------------------------------------------------------ change capture


def test_ledger_counts_new_changed_gone_unchanged_and_duplicate_rows() -> None:
    reference = Reference()
    cat = ("3", "Cat", "yes")
    first = reference.take(Load(T1, [ANA, BOB, cat, ANA], [A1]))
    assert first["customer"] == LedgerCounts(rows_read=4, new=3, changed=0, gone=0, unchanged=0, duplicate=1)
    second = reference.take(Load(T2, [ANA, ANA, ("2", "Bob", "yes"), ("2", "Rob", "yes"), ("2", "Bob", "yes")], [A1]))
    assert second["customer"] == LedgerCounts(rows_read=5, new=0, changed=2, gone=1, unchanged=1, duplicate=2)
    assert second["account"] == LedgerCounts(rows_read=1, new=0, changed=0, gone=0, unchanged=1, duplicate=0)
    third = reference.take(Load(T3, [cat, ("2", "Rob", "yes"), ("2", "Bob", "yes")], [A1]))
    assert third["customer"] == LedgerCounts(rows_read=3, new=1, changed=0, gone=1, unchanged=2, duplicate=0)
    columns = ("loaded_at", "change_type", "customer_key", "rows_for_key_count", "has_loan")
    assert pick(reference.tables()["landing.customer"], *columns) == [
        (T1, "new", "1", 1, "no"),
        (T1, "new", "2", 1, "no"),
        (T1, "new", "3", 1, "yes"),
        (T2, "changed", "2", 2, "yes"),
        (T2, "changed", "2", 2, "yes"),
        (T2, "gone", "3", 0, None),
        (T3, "gone", "1", 0, None),
        (T3, "new", "3", 1, "yes"),
    ]


def test_white_space_around_a_key_changes_the_row_and_not_its_identity() -> None:
    tables = after(([ANA], [A1]), ([("\u00a01 ", "Ana", "no")], [A1]))
    assert pick(tables["landing.customer"], "change_type", "customer_key", "customer_id") == [
        ("new", "1", "1"),
        ("changed", "1", "\u00a01 "),
    ]
    assert len(tables["snapshots.snap_customer"]) == 1


def test_order_of_rows_and_repeats_change_nothing() -> None:
    conflict = [ANA, ("1", "Anna", "no"), BOB]
    tables = after((conflict, [A1, B1]), ([BOB, conflict[1], ANA, ANA], [B1, A1, B1]))
    assert {row["loaded_at"] for row in tables["landing.customer"] + tables["landing.account"]} == {T1}


def test_source_is_the_change_log() -> None:
    tables = after(([ANA], [A1]), ([BOB], [B1]))
    assert tables["source.src_customer"] == tables["landing.customer"]
    assert tables["source.src_account"] == tables["landing.account"]


def test_load_out_of_order_or_without_rows_is_refused() -> None:
    reference = Reference()
    reference.take(Load(T2, [ANA], [A1]))
    with pytest.raises(ValueError, match="not after the last one"):
        reference.take(Load(T2, [ANA], [A1]))
    with pytest.raises(ValueError, match="without rows"):
        reference.take(Load(T3, [ANA], []))


# ---------------------------------------------------------------------------------------------- staging and quarantine


def test_quarantine_row_has_all_reasons_in_order_and_the_text_as_received() -> None:
    tables = after(([("x", " N/A ", "maybe")], [("none", "01", "-1", "gold"), ("none", "01", "-1", "")]))
    assert tables["staging.stg_customer"] == []
    assert tables["staging.quarantine_customer"] == [
        {
            "customer_key": "x",
            "customer_id": "x",
            "customer_name": " N/A ",
            "has_loan": "maybe",
            "is_deleted_flag": False,
            "reasons": "customer_id_invalid, customer_name_missing, has_loan_invalid",
            "loaded_at": T1,
        }
    ]
    assert pick(tables["staging.quarantine_account"], "account_type", "reasons") == [
        ("", "account_id_missing, customer_id_invalid, balance_negative, account_type_missing, conflicting_rows"),
        ("gold", "account_id_missing, customer_id_invalid, balance_negative, account_type_invalid, conflicting_rows"),
    ]


def test_tombstone_is_staged_by_its_key_alone() -> None:
    tables = after(([ANA, ("2", "", "?"), ("x", "Xi", "no")], [A1, ("", "1", "1", "savings")]), ([ANA], [A1]))
    assert tables["staging.stg_customer"][-1] == {
        "customer_id": 2,
        "customer_name": None,
        "has_loan_flag": None,
        "is_deleted_flag": True,
        "loaded_at": T2,
    }
    assert tables["staging.quarantine_customer"][-1] == {
        "customer_key": "x",
        "customer_id": None,
        "customer_name": None,
        "has_loan": None,
        "is_deleted_flag": True,
        "reasons": "customer_id_invalid",
        "loaded_at": T2,
    }
    assert pick(tables["staging.quarantine_account"], "account_key", "account_id", "is_deleted_flag", "reasons") == [
        ("", "", False, "account_id_missing"),
        ("", None, True, "account_id_missing"),
    ]


def test_quarantined_row_leaves_the_last_valid_version_standing() -> None:
    tables = after(
        ([ANA], [A1]),
        ([ANA], [("A1", "1", "1,000", "savings")]),
        ([ANA], [("A1", "1", "100.00", "SAVINGS")]),
        ([ANA], [("A1", "1", "bad", "savings")]),
        ([ANA], [B1]),
    )
    assert account_versions(tables) == [(1, Decimal("100.00"), "savings", True, T1, T5)]


def test_conflicting_rows_are_all_quarantined_until_one_is_left() -> None:
    tables = after(
        ([ANA], [A1]),
        ([ANA], [A1, ("A1", "1", "200", "savings")]),
        ([ANA], [("A1", "1", "200", "savings")]),
    )
    assert pick(tables["staging.quarantine_account"], "balance", "reasons", "loaded_at") == [
        ("100", "conflicting_rows", T2),
        ("200", "conflicting_rows", T2),
    ]
    assert account_versions(tables) == [
        (1, Decimal("100.00"), "savings", False, T1, T3),
        (1, Decimal("200.00"), "savings", False, T3, None),
    ]


# ------------------------------------------------------------------------------------------------------------- history


def test_what_cleaning_removes_opens_no_version() -> None:
    tables = after(
        ([("1", "Ana Lee", "yes")], [A1]),
        ([("1", " Ana \n Lee", "1")], [(" A1", "1 ", "+0100.00", "SAVINGS")]),
    )
    assert len(tables["landing.account"]) == 2
    assert len(tables["snapshots.snap_customer"]) == len(tables["snapshots.snap_account"]) == 1
    assert len(events(tables)) == 1


def test_content_that_changes_and_changes_back_is_two_new_versions() -> None:
    tables = after(([ANA], [A1]), ([("1", "Anna", "no")], [A1]), ([ANA], [A1]))
    rows = sorted(tables["snapshots.snap_customer"], key=lambda row: row["valid_from_at"])
    assert pick(rows, "customer_name", "is_deleted_flag", "loaded_at", "valid_from_at", "valid_to_at") == [
        ("Ana", False, T1, T1, T2),
        ("Anna", False, T2, T2, T3),
        ("Ana", False, T3, T3, None),
    ]


def test_account_that_is_deleted_and_returns_leaves_a_gap() -> None:
    tables = after(([ANA], [A1, B1]), ([ANA], [B1]), ([ANA], [B1]), ([ANA], [A1, B1]))
    assert account_versions(tables) == [
        (1, Decimal("100.00"), "savings", True, T1, T2),
        (1, Decimal("100.00"), "savings", False, T4, None),
    ]
    assert pick(events(tables), "event_status", "customer_name", "previous_account_type", "event_at") == [
        ("active", "Ana", None, T1),
        ("account_gone", "Ana", None, T2),
        ("active", "Ana", None, T4),
    ]
    assert pick(tables["marts.account_summary"], "account_id", "calculated_at") == [("A1", T4)]


def test_deleted_account_leaves_the_marts() -> None:
    tables = after(([ANA], [A1, B1]), ([ANA], [B1]))
    assert tables["marts.account_summary"] == tables["marts.customer_profile"] == []
    columns = ("event_at", "is_active_savings_flag", "event_status")
    assert sorted(pick(tables["intermediate.int_savings_account_only"], *columns)) == [
        (T1, True, "active"),
        (T2, False, "account_gone"),
    ]


def test_tombstone_of_a_key_that_was_never_valid_opens_nothing() -> None:
    tables = after(([ANA, ("2", "", "no")], [A1, ("B1", "1", "x", "savings")]), ([ANA], [A1]))
    assert pick(tables["snapshots.snap_customer"], "customer_id") == [(1,)]
    assert pick(tables["snapshots.snap_account"], "account_id") == [("A1",)]


# ---------------------------------------------------------------------------------------------------- events and marts


def test_mart_rows_of_a_customer_with_two_savings_accounts() -> None:
    tables = after(([("1", "Ana", "yes")], [("A1", "1", "33.335", "savings"), ("A2", "1", "20000", "savings"), B1]))
    assert [in_text(row) for row in tables["marts.account_summary"]] == [
        ("A1", 1, "33.34", "0.0150", "0.50", "33.84", T1),
        ("A2", 1, "20000.00", "0.0250", "500.00", "20500.00", T1),
    ]
    assert [in_text(row) for row in tables["marts.customer_profile"]] == [(1, "Ana", True, 2, "20033.34", "500.50", T1)]


def test_interest_is_rounded_half_up_and_fits_the_largest_balance() -> None:
    accounts = [("A1", "1", "0.5", "savings"), ("A2", "1", "9999999999999999.99", "savings")]
    tables = after(([("1", "Ana", "yes")], accounts), ([ANA], accounts))
    assert [in_text(row)[2:6] for row in tables["marts.account_summary"]] == [
        ("0.50", "0.0100", "0.01", "0.51"),
        ("9999999999999999.99", "0.0200", "200000000000000.00", "10199999999999999.99"),
    ]


def test_change_of_only_the_loan_flag_reaches_every_account_of_the_customer() -> None:
    accounts = [A1, ("A2", "1", "10000", "savings"), ("A3", "1", "5", "checking"), ("B2", "2", "7", "savings")]
    tables = after(([ANA, BOB], accounts), ([("1", "Ana", "yes"), BOB], accounts))
    assert pick(tables["marts.account_summary"], "account_id", "interest_rate_pct", "calculated_at") == [
        ("A1", Decimal("0.0150"), T2),
        ("A2", Decimal("0.0200"), T2),
        ("B2", Decimal("0.0100"), T1),
    ]
    assert pick(tables["marts.customer_profile"], "customer_id", "has_loan_flag", "calculated_at") == [
        (1, True, T2),
        (2, False, T1),
    ]
    assert pick(events(tables, "A3"), "event_at", "has_loan_flag") == [(T1, False), (T2, True)]
    assert ("A3",) not in pick(tables["intermediate.int_savings_account_only"], "account_id")


def test_change_of_one_of_two_accounts_leaves_the_other_row_as_it_was() -> None:
    tables = after(
        ([ANA], [A1, ("A2", "1", "10", "savings")]),
        ([ANA], [A1, ("A2", "1", "20", "savings")]),
    )
    assert pick(tables["marts.account_summary"], "account_id", "original_balance_amount", "calculated_at") == [
        ("A1", Decimal("100.00"), T1),
        ("A2", Decimal("20.00"), T2),
    ]
    assert pick(tables["marts.customer_profile"], "total_balance_amount", "calculated_at") == [(Decimal("120.00"), T2)]


def test_savings_to_checking_and_back() -> None:
    checking = ("A1", "1", "100", "checking")
    files: list[tuple[Rows, Rows]] = [([ANA], [A1]), ([ANA], [checking]), ([("1", "Anna", "no")], [checking])]
    tables = after(*files)
    assert tables["marts.account_summary"] == tables["marts.customer_profile"] == []
    columns = ("account_type", "previous_account_type", "is_active_savings_flag", "event_at")
    savings_events = tables["intermediate.int_savings_account_only"]
    assert sorted(pick(savings_events, *columns), key=lambda row: row[-1]) == [
        ("savings", None, True, T1),
        ("checking", "savings", False, T2),
    ]
    tables = after(*files, ([("1", "Anna", "no")], [A1]))
    assert [in_text(row) for row in tables["marts.account_summary"]] == [
        ("A1", 1, "100.00", "0.0100", "1.00", "101.00", T4)
    ]
    assert pick(events(tables), "account_type", "previous_account_type", "event_at") == [
        ("savings", None, T1),
        ("checking", "savings", T2),
        ("checking", None, T3),
        ("savings", "checking", T4),
    ]


def test_account_that_moves_changes_the_profile_of_both_customers() -> None:
    accounts = [A1, ("A2", "1", "10", "savings"), ("B2", "2", "7", "savings")]
    moved = [("A1", "2", "100", "savings"), *accounts[1:]]
    tables = after(([ANA, BOB], accounts), ([ANA, BOB], moved))
    columns = ("customer_id", "total_accounts_count", "total_balance_amount", "calculated_at")
    assert pick(tables["marts.customer_profile"], *columns) == [
        (1, 1, Decimal("10.00"), T2),
        (2, 2, Decimal("107.00"), T2),
    ]
    assert pick(events(tables), "customer_id", "previous_customer_id", "previous_account_type", "event_at") == [
        (1, None, None, T1),
        (2, 1, "savings", T2),
    ]


def test_account_of_a_customer_that_does_not_exist_yet_waits_for_it() -> None:
    moved = ("A1", "2", "100", "savings")
    files: list[tuple[Rows, Rows]] = [([ANA], [A1]), ([ANA], [moved])]
    tables = after(*files)
    assert tables["marts.account_summary"] == tables["marts.customer_profile"] == []
    last = events(tables)[-1]
    assert (last["event_status"], last["customer_id"], last["customer_name"], last["has_loan_flag"]) == (
        "customer_unknown",
        2,
        None,
        None,
    )
    tables = after(*files, ([ANA, BOB], [moved]))
    assert pick(tables["marts.customer_profile"], "customer_id", "calculated_at") == [(2, T3)]
    assert pick(events(tables), "event_status", "event_at") == [
        ("active", T1),
        ("customer_unknown", T2),
        ("active", T3),
    ]


def test_customer_whose_only_rows_are_quarantined_is_unknown() -> None:
    tables = after(([ANA, ("2", "Bob", "?")], [("B2", "2", "1", "savings")]))
    assert pick(events(tables, "B2"), "event_status") == [("customer_unknown",)]


def test_customer_that_is_deleted_and_returns_takes_its_accounts_along() -> None:
    files: list[tuple[Rows, Rows]] = [([ANA, BOB], [A1, B1]), ([BOB], [A1, B1])]
    tables = after(*files)
    assert tables["marts.account_summary"] == tables["marts.customer_profile"] == []
    tables = after(*files, ([BOB], [("A1", "1", "300", "savings"), B1]), ([ANA, BOB], [A1, B1]))
    assert pick(events(tables), "event_status", "customer_name", "balance_amount", "event_at") == [
        ("active", "Ana", Decimal("100.00"), T1),
        ("customer_gone", None, Decimal("100.00"), T2),
        ("customer_gone", None, Decimal("300.00"), T3),
        ("active", "Ana", Decimal("100.00"), T4),
    ]
    assert pick(tables["marts.account_summary"], "account_id", "calculated_at") == [("A1", T4)]


def test_account_and_customer_that_change_in_one_load_make_one_event() -> None:
    tables = after(([ANA], [A1]), ([("1", "Anna", "yes")], [("A1", "1", "200", "savings")]), ([BOB], [B1]))
    assert pick(events(tables), "event_status", "customer_name", "balance_amount", "event_at") == [
        ("active", "Ana", Decimal("100.00"), T1),
        ("active", "Anna", Decimal("200.00"), T2),
        ("account_gone", None, Decimal("200.00"), T3),
    ]


def test_customer_changes_outside_the_time_of_an_account_make_no_event() -> None:
    tables = after(
        ([ANA], [A1, B1]),
        ([ANA], [("A1", "2", "100", "savings"), B1]),
        ([("1", "Anna", "no")], [("A1", "2", "100", "savings"), B1]),
        ([("1", "Anna", "no")], [B1]),
        ([("1", "Anna", "no"), BOB], [B1]),
    )
    assert pick(events(tables), "event_status", "event_at") == [
        ("active", T1),
        ("customer_unknown", T2),
        ("account_gone", T4),
    ]


def test_other_tiers_give_other_interest() -> None:
    reference = Reference([replace(DEFAULT_TIERS[0], interest_rate_pct=Decimal("0.0300"))])
    reference.take(Load(T1, [ANA], [A1]))
    tables = reference.tables()
    assert [in_text(row)[3:6] for row in tables["marts.account_summary"]] == [("0.0300", "3.00", "103.00")]
    assert [in_text(row) for row in tables["reference.interest_rate_tier"]] == [("0.00", "0.0300", "0.0050")]


# ------------------------------------------------------------------------------------------ promises over all sequences


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(feed_sequences())
def test_reference_keeps_its_invariants_over_any_sequence(loads: list[Load]) -> None:
    reference = Reference()
    for load in loads:
        for feed, counts in reference.take(load).items():
            assert counts.rows_read == counts.new + counts.changed + counts.unchanged + counts.duplicate
            assert counts.rows_read == len(load.customer if feed == "customer" else load.account)
        tables = reference.tables()
        for feed in ("customer", "account"):
            staged = len(tables[f"staging.stg_{feed}"]) + len(tables[f"staging.quarantine_{feed}"])
            assert staged == len(tables[f"landing.{feed}"])
        check_snapshot(tables["snapshots.snap_customer"], "customer_id")
        check_snapshot(tables["snapshots.snap_account"], "account_id")
        log = tables["intermediate.int_account_with_customer"]
        assert len({(row["account_id"], row["event_at"]) for row in log}) == len(log)
        check_marts_against_what_is_current(tables)


def check_snapshot(rows: list[dict[str, Any]], key: str) -> None:
    """No version is empty, overlaps another of its key, or follows directly on one of the same content."""
    rows = sorted(rows, key=lambda row: (row[key], row["valid_from_at"]))
    for row in rows:
        assert row["valid_to_at"] is None or row["valid_from_at"] < row["valid_to_at"]
        assert row["valid_to_at"] is not None or not row["is_deleted_flag"]
    for row, following in pairwise(rows):
        if row[key] != following[key]:
            continue
        assert row["valid_to_at"] is not None
        if row["is_deleted_flag"]:
            assert row["valid_to_at"] < following["valid_from_at"]
        else:
            assert row["valid_to_at"] == following["valid_from_at"]
            content = [column for column in row if column not in SNAPSHOT_COLUMNS]
            assert any(row[column] != following[column] for column in content)


SNAPSHOT_COLUMNS = ("is_deleted_flag", "loaded_at", "valid_from_at", "valid_to_at")


def check_marts_against_what_is_current(tables: dict[str, list[dict[str, Any]]]) -> None:
    """The marts, which the reference makes from events, equal what the open versions alone say."""
    customers = {row["customer_id"]: row for row in tables["snapshots.snap_customer"] if row["valid_to_at"] is None}
    held: dict[int, list[dict[str, Any]]] = {}
    expected = []
    for row in tables["snapshots.snap_account"]:
        owner = customers.get(row["customer_id"])
        if row["valid_to_at"] is not None or row["account_type"] != "savings" or owner is None:
            continue
        expected.append(
            (row["account_id"], row["customer_id"], row["balance_amount"], max(row["loaded_at"], owner["loaded_at"]))
        )
        held.setdefault(row["customer_id"], []).append(row)
    summary = tables["marts.account_summary"]
    columns = ("account_id", "customer_id", "original_balance_amount", "calculated_at")
    assert pick(summary, *columns) == sorted(expected)
    for row in summary:
        loan = customers[row["customer_id"]]["has_loan_flag"]
        assert row["interest_rate_pct"] == interest_rate(row["original_balance_amount"], loan, DEFAULT_TIERS)
        exact = row["original_balance_amount"] * row["interest_rate_pct"]
        assert Decimal("-0.005") < row["annual_interest_amount"] - exact <= Decimal("0.005")
    profile_columns = ("customer_id", "customer_name", "total_accounts_count", "total_balance_amount")
    assert pick(tables["marts.customer_profile"], *profile_columns) == [
        (key, customers[key]["customer_name"], len(rows), sum(row["balance_amount"] for row in rows))
        for key, rows in sorted(held.items())
    ]
    for profile in tables["marts.customer_profile"]:
        assert profile["calculated_at"] >= max(
            row["calculated_at"] for row in summary if row["customer_id"] == profile["customer_id"]
        )


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(feed_sequences(min_loads=3, max_loads=4))
def test_sequences_rise_in_time_and_every_file_has_rows(loads: list[Load]) -> None:
    assert 3 <= len(loads) <= 4
    times = [load.loaded_at for load in loads]
    assert times == sorted(set(times))
    for load in loads:
        assert {len(row) for row in load.customer} == {len(CUSTOMER.columns)}
        assert {len(row) for row in load.account} == {len(ACCOUNT.columns)}


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(loads=feed_sequences(min_loads=1, max_loads=1), style=csv_styles())
def test_written_feeds_read_back_exactly(tmp_path: Path, loads: list[Load], style: dict[str, Any]) -> None:
    write_feeds(replace(loads[0], damaged={}), tmp_path, **style)
    for feed, rows in ((CUSTOMER, loads[0].customer), (ACCOUNT, loads[0].account)):
        with (tmp_path / feed.file_name).open(encoding="utf-8-sig", newline="") as file:
            header, *read = list(csv.reader(file, strict=True))
        assert tuple(header) == feed.header
        assert [tuple(row) for row in read] == rows


# ----------------------------------------------------------------------------------------------------------- comparison


def test_rows_in_another_order_and_decimals_of_another_scale_are_the_same() -> None:
    assert_same_rows(
        [{"a": 1, "b": Decimal("1.00")}, {"a": None, "b": Decimal(0)}],
        [{"b": Decimal("0.00"), "a": None}, {"b": Decimal(1), "a": 1}],
        "marts.example",
    )


@pytest.mark.parametrize(
    "actual",
    [
        [],
        [{"a": 1, "b": "x"}, {"a": 1, "b": "x"}],
        [{"a": True, "b": "x"}],
        [{"a": Decimal(1), "b": "x"}],
        [{"a": 1, "b": None}],
        [{"a": 1}],
        [{"a": 1, "b": "x", "c": None}],
    ],
)
def test_rows_that_differ_in_number_type_value_or_column_are_not_the_same(actual: list[dict[str, Any]]) -> None:
    with pytest.raises(AssertionError, match=r"marts\.example: expected 1 rows"):
        assert_same_rows([{"a": 1, "b": "x"}], actual, "marts.example")


def test_difference_names_the_rows_and_the_cells() -> None:
    expected = [{"a": number, "b": Decimal("1.00")} for number in range(9)]
    actual = [{"a": number, "b": Decimal("1.01")} for number in range(9)]
    with pytest.raises(AssertionError) as caught:
        assert_same_rows(expected, actual, "marts.example")
    message = str(caught.value)
    assert "expected 9 rows, found 9; 9 missing, 9 unexpected" in message
    assert "missing    {a: 0, b: Decimal('1.00')}" in message
    assert "closest differs in b: Decimal('1.00') (Decimal) became Decimal('1.01') (Decimal)" in message
    assert message.count("... and 4 more") == 2


@given(st.text("ab \u00a0\n", max_size=6))
def test_cleaning_a_clean_name_changes_nothing(text: str) -> None:
    name, _ = judge_customer_name(text)
    if name is not None:
        assert judge_customer_name(name) == (name, None)
