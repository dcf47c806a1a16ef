"""The rules of the pipeline in plain Python: what every table must hold after a sequence of loads.

Written from the design alone and sharing no code with the pipeline but the feeds' column names, so that the two can be
compared row for row. Everything is recomputed from the change log at every call: clear, not fast.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal
from functools import partial
from typing import Any

from scripts.feeds import ACCOUNT, CUSTOMER, Feed

Row = dict[str, Any]
Content = tuple[str, ...]
# By column of a feed: the column that it becomes, and what judges its text.
Rules = dict[str, tuple[str, Any]]

# Unicode's White_Space property. Python's own str.strip() also takes U+001C to U+001F, which do not have it.
WHITE_SPACE = "".join(
    map(
        chr,
        (*range(0x09, 0x0E), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000),
    )
)
WHITE_SPACE_RUN = re.compile(f"[{WHITE_SPACE}]+")

# General categories of what can't be seen: control, format, separators of lines, private use, unassigned.
INVISIBLE = {"Cc", "Cf", "Zl", "Zp", "Co", "Cn"}

ABSENT = {"", "null", "n/a", "none"}
YES = {"yes", "y", "true", "1"}
NO = {"no", "n", "false", "0"}
ACCOUNT_TYPES = {"savings", "checking"}
CUSTOMER_ID_FORM = re.compile(r"[1-9][0-9]{0,17}")
BALANCE_FORM = re.compile(r"(?P<sign>[+-]?)(?P<whole>[0-9]+)(\.[0-9]+)?")
MAX_WHOLE_DIGITS = 16

CENT = Decimal("0.01")
RATE_STEP = Decimal("0.0001")
MAX_BALANCE = Decimal("9999999999999999.99")


@dataclass(frozen=True)
class Load:
    """One load: both files, taken at the same time.

    Attributes:
        loaded_at: UTC without zone.
        customer: Rows as they stand in the file, fields in the order of `CUSTOMER.columns`; '' is an empty field.
        account: The same in the order of `ACCOUNT.columns`.
        damaged: By feed name, the file's lines that are no sound record, as they stand in it.
    """

    loaded_at: datetime
    customer: Sequence[tuple[str, ...]]
    account: Sequence[tuple[str, ...]]
    damaged: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class LedgerCounts:
    """What one file of one load held (rows) and which keys it no longer held (`gone`)."""

    rows_read: int
    new: int
    changed: int
    gone: int
    unchanged: int
    duplicate: int


@dataclass(frozen=True)
class Tier:
    """One row of the seed: from this balance on (inclusive) this rate, and so much more for a customer with a loan."""

    balance_from_amount: Decimal
    interest_rate_pct: Decimal
    loan_bonus_pct: Decimal


DEFAULT_TIERS = (
    Tier(Decimal("0.00"), Decimal("0.0100"), Decimal("0.0050")),
    Tier(Decimal("10000.00"), Decimal("0.0150"), Decimal("0.0050")),
    Tier(Decimal("20000.00"), Decimal("0.0200"), Decimal("0.0050")),
)


@dataclass(frozen=True)
class Version:
    """What held for one key from `valid_from_at` (inclusive) until `valid_to_at` (exclusive, None while current)."""

    key: Any
    values: Row
    valid_from_at: datetime
    valid_to_at: datetime | None
    is_deleted_flag: bool

    def is_valid_at(self, moment: datetime) -> bool:
        """Whether this version held at the moment."""
        return self.valid_from_at <= moment and (self.valid_to_at is None or moment < self.valid_to_at)


# ---------------------------------------------------------------------------------------------------- rules of a field


def trim(text: str) -> str:
    """The text without white space at its ends."""
    return text.strip(WHITE_SPACE)


def word(text: str) -> str:
    """The trimmed text with A to Z in lower case: the form in which words are compared."""
    return "".join(chr(ord(char) + 32) if "A" <= char <= "Z" else char for char in trim(text))


def is_absent(text: str) -> bool:
    """Whether the field says nothing: blank, null, n/a or none, in any case."""
    return word(text) in ABSENT


def round_half_up(value: Decimal, step: Decimal = CENT) -> Decimal:
    """The value to the step, halves away from zero, exact for any number of digits."""
    return value.quantize(step, rounding=ROUND_HALF_UP, context=Context(prec=len(value.as_tuple().digits) + 40))


# A first field and the comma that ends it.
QUOTED_FIRST_FIELD = re.compile(r'"((?:[^"]|"")*)",')
PLAIN_FIRST_FIELD = re.compile(r'([^",][^,]*),')


def told_key(line: str, field_count: int) -> str | None:
    """The key that a damaged line names with its first field, None where that can't be told.

    It can where a comma ends the field, the field is not absent, and no other record can hide in the line: it is one
    line, and has fewer commas than two records whose line end was lost.
    """
    if "\n" in line or "\r" in line or line.count(",") >= 2 * (field_count - 1):
        return None
    first = QUOTED_FIRST_FIELD.match(line) or PLAIN_FIRST_FIELD.match(line)
    if first is None or is_absent(first[1]):
        return None
    return trim(first[1].replace('""', '"') if line.startswith('"') else first[1])


def judge_customer_id(text: str) -> tuple[int | None, str | None]:
    """The customer id, or the reason why there is none."""
    if is_absent(text):
        return None, "customer_id_missing"
    if not CUSTOMER_ID_FORM.fullmatch(trim(text)):
        return None, "customer_id_invalid"
    return int(trim(text)), None


def judge_customer_name(text: str) -> tuple[str | None, str | None]:
    """The name with single spaces, or the reason why there is none."""
    if is_absent(text):
        return None, "customer_name_missing"
    return WHITE_SPACE_RUN.sub(" ", trim(text)), None


def judge_has_loan(text: str, yes: Collection[str] = YES) -> tuple[bool | None, str | None]:
    """The loan flag (absent means no), or the reason why there is none."""
    if word(text) in yes:
        return True, None
    if word(text) in NO or is_absent(text):
        return False, None
    return None, "has_loan_invalid"


def judge_account_id(text: str) -> tuple[str | None, str | None]:
    """The account id, or the reason why there is none."""
    if is_absent(text):
        return None, "account_id_missing"
    if any(unicodedata.category(char) in INVISIBLE for char in trim(text)):
        return None, "account_id_invalid"
    return trim(text), None


def judge_balance(text: str) -> tuple[Decimal | None, str | None]:
    """The balance in cents, or the reason why there is none."""
    if is_absent(text):
        return None, "balance_missing"
    form = BALANCE_FORM.fullmatch(trim(text))
    if form is None:
        return None, "balance_invalid"
    balance = Decimal(trim(text))
    if balance < 0:
        return None, "balance_negative"
    rounded = round_half_up(balance)
    if len(form["whole"]) > MAX_WHOLE_DIGITS or rounded > MAX_BALANCE:
        return None, "balance_too_large"
    return rounded.copy_abs(), None  # '-0' is no other balance than '0'


def judge_account_type(text: str) -> tuple[str | None, str | None]:
    """The type in lower case, or the reason why there is none."""
    if is_absent(text):
        return None, "account_type_missing"
    return (word(text), None) if word(text) in ACCOUNT_TYPES else (None, "account_type_invalid")


# Per feed, in the order of its columns and of its reasons. The key comes first.
RULES: dict[str, Rules] = {
    CUSTOMER.name: {
        "customer_id": ("customer_id", judge_customer_id),
        "customer_name": ("customer_name", judge_customer_name),
        "has_loan": ("has_loan_flag", judge_has_loan),
    },
    ACCOUNT.name: {
        "account_id": ("account_id", judge_account_id),
        "customer_id": ("customer_id", judge_customer_id),
        "balance": ("balance_amount", judge_balance),
        "account_type": ("account_type", judge_account_type),
    },
}


# ------------------------------------------------------------------------------------------------------------ reference


class Reference:
    """The pipeline's tables after the loads taken so far.

    Args:
        tiers: Rows of the seed, in any order.
        loan_words: What says that a customer has a loan.

    Attributes:
        rates_changed_at: Time of the newest change of the tiers, None while they are those of the beginning.

    Raises:
        ValueError: No tier covers a balance of zero.
    """

    def __init__(self, tiers: Sequence[Tier] = DEFAULT_TIERS, loan_words: Collection[str] = YES) -> None:
        if not any(tier.balance_from_amount <= 0 for tier in tiers):
            raise ValueError("No tier starts at a balance of 0: add one, or small balances have no rate.")
        self.tiers = tuple(tiers)
        self.rates_changed_at: datetime | None = None
        self.loan_words = frozenset(loan_words)
        self.last_loaded_at: datetime | None = None
        self.landing: dict[str, list[Row]] = {CUSTOMER.name: [], ACCOUNT.name: []}
        self.unseen: list[Row] = []
        self.known: dict[str, dict[str, set[Content]]] = {CUSTOMER.name: {}, ACCOUNT.name: {}}

    def take(self, load: Load) -> dict[str, LedgerCounts]:
        """Capture the changes of one load.

        Returns:
            The ledger's figures by feed name.

        Raises:
            ValueError: The load is not after the last one, or a file holds no row (the pipeline refuses both).
        """
        if self.last_loaded_at is not None and load.loaded_at <= self.last_loaded_at:
            raise ValueError(f"Load of {load.loaded_at} is not after the last one of {self.last_loaded_at}.")
        if not load.customer or not load.account:
            raise ValueError(f"Load of {load.loaded_at} has a file without rows.")
        self.last_loaded_at = load.loaded_at
        return {
            CUSTOMER.name: self._capture(CUSTOMER, load, load.customer),
            ACCOUNT.name: self._capture(ACCOUNT, load, load.account),
        }

    def change_rates(self, tiers: Sequence[Tier]) -> None:
        """Prod goes over to other tiers after the loads taken so far: in the millisecond after the newest, or after the
        change before."""
        assert self.last_loaded_at is not None
        millisecond = timedelta(milliseconds=1)
        begun = timedelta(microseconds=self.last_loaded_at.microsecond % 1000)
        times = [self.last_loaded_at - begun + millisecond]
        if self.rates_changed_at:
            times.append(self.rates_changed_at + millisecond)
        self.tiers, self.rates_changed_at = tuple(tiers), max(times)

    def _capture(self, feed: Feed, load: Load, rows: Sequence[tuple[str, ...]]) -> LedgerCounts:
        known, loaded_at = self.known[feed.name], load.loaded_at
        key_position = feed.columns.index(feed.key)
        received: dict[str, set[Content]] = {}
        for row in rows:
            received.setdefault(trim(row[key_position]), set()).add(row)

        counts = {"new": 0, "changed": 0, "unchanged": 0, "gone": 0}
        for key, contents in received.items():
            if key not in known:
                change_type = "new"
            elif contents != known[key]:
                change_type = "changed"
            else:
                change_type = "unchanged"
            counts[change_type] += len(contents)
            if change_type != "unchanged":
                known[key] = contents
                for content in contents:
                    values = dict(zip(feed.columns, content, strict=True))
                    self._log(feed, loaded_at, change_type, key, len(contents), values)
        rejected = {told_key(line, len(feed.columns)) for line in load.damaged.get(feed.name, ())}
        for key in [key for key in known if key not in received and key not in rejected]:
            if None in rejected:
                self.unseen.append({"loaded_at": loaded_at, "feed": feed.name, "record_key": key})
                continue
            counts["gone"] += 1
            del known[key]
            self._log(feed, loaded_at, "gone", key, 0, dict.fromkeys(feed.columns))
        distinct = sum(len(contents) for contents in received.values())
        return LedgerCounts(rows_read=len(rows), duplicate=len(rows) - distinct, **counts)

    def _log(self, feed: Feed, loaded_at: datetime, change: str, key: str, rows_for_key: int, values: Row) -> None:
        event = {"loaded_at": loaded_at, "change_type": change, feed.key_column: key}
        self.landing[feed.name].append({**event, "rows_for_key_count": rows_for_key, **values})

    def tables(self) -> dict[str, list[Row]]:
        """Every table by its full name, its rows in a canonical order; the load ledger and the rejects are left out.

        Values are int, str, bool, Decimal (at the column's scale), datetime (UTC without zone) or None.
        """
        has_loan = partial(judge_has_loan, yes=self.loan_words)
        customer_rules = {**RULES[CUSTOMER.name], "has_loan": ("has_loan_flag", has_loan)}
        stg_customer, quarantine_customer = partition(CUSTOMER, customer_rules, self.landing[CUSTOMER.name])
        stg_account, quarantine_account = partition(ACCOUNT, RULES[ACCOUNT.name], self.landing[ACCOUNT.name])
        customers = history(stg_customer, "customer_id")
        accounts = history(stg_account, "account_id")
        events = change_events(accounts, customers)
        savings_events = [
            {**event, "is_active_savings_flag": (event["event_status"], event["account_type"]) == ("active", "savings")}
            for event in events
            if event["account_type"] == "savings" or event["previous_account_type"] == "savings"
        ]
        account_summary = summarize_accounts(savings_events, self.tiers, self.rates_changed_at)
        tables = {
            "landing.customer": self.landing[CUSTOMER.name],
            "landing.account": self.landing[ACCOUNT.name],
            "landing.unseen": self.unseen,
            "source.src_customer": self.landing[CUSTOMER.name],
            "source.src_account": self.landing[ACCOUNT.name],
            "staging.stg_customer": stg_customer,
            "staging.stg_account": stg_account,
            "staging.quarantine_customer": quarantine_customer,
            "staging.quarantine_account": quarantine_account,
            "snapshots.snap_customer": [snapshot_row("customer_id", version) for version in customers],
            "snapshots.snap_account": [snapshot_row("account_id", version) for version in accounts],
            "intermediate.int_account_with_customer": events,
            "intermediate.int_savings_account_only": savings_events,
            "marts.account_summary": account_summary,
            "marts.customer_profile": profile_customers(
                account_summary, savings_events, customers, self.rates_changed_at
            ),
            "reference.interest_rate_tier": [vars(tier) for tier in self.tiers],
        }
        return {name: sorted((dict(row) for row in rows), key=sort_key) for name, rows in tables.items()}


def sort_key(row: Row) -> tuple[tuple[bool, Any], ...]:
    """Orders the rows of one table by all columns, None last."""
    return tuple((value is None, 0 if value is None else value) for value in row.values())


def partition(feed: Feed, rules: Rules, log: list[Row]) -> tuple[list[Row], list[Row]]:
    """The staging rows and the quarantine rows that one feed's change log makes: together one for each row."""
    valid: list[Row] = []
    quarantined: list[Row] = []
    for entry in log:
        is_gone = entry["change_type"] == "gone"
        judged_columns = [feed.key] if is_gone else list(feed.columns)
        typed: Row = {target: None for target, _ in rules.values()}
        reasons: list[str] = []
        for column in judged_columns:
            target, judge = rules[column]
            typed[target], reason = judge(entry[feed.key_column] if is_gone else entry[column])
            if reason is not None:
                reasons.append(reason)
        if entry["rows_for_key_count"] > 1:
            reasons.append("conflicting_rows")
        if reasons:
            as_received = {column: entry[column] for column in (feed.key_column, *feed.columns)}
            ending = {"is_deleted_flag": is_gone, "reasons": ", ".join(reasons), "loaded_at": entry["loaded_at"]}
            quarantined.append({**as_received, **ending})
        else:
            valid.append({**typed, "is_deleted_flag": is_gone, "loaded_at": entry["loaded_at"]})
    return valid, quarantined


def history(staged: list[Row], key_column: str) -> list[Version]:
    """All versions of all keys, those of one key in order of time."""
    versions: list[Version] = []
    for key in sorted({row[key_column] for row in staged}):
        current: Version | None = None
        for row in sorted((row for row in staged if row[key_column] == key), key=lambda row: row["loaded_at"]):
            at, is_gone = row["loaded_at"], row["is_deleted_flag"]
            values = {
                column: value
                for column, value in row.items()
                if column not in (key_column, "is_deleted_flag", "loaded_at")
            }
            if current is None and is_gone:
                continue
            if current is not None and not is_gone and current.values == values:
                continue
            if current is not None:
                versions.append(Version(key, current.values, current.valid_from_at, at, is_deleted_flag=is_gone))
            current = None if is_gone else Version(key, values, at, None, is_deleted_flag=False)
        if current is not None:
            versions.append(current)
    return versions


def snapshot_row(key_column: str, version: Version) -> Row:
    """One version as a row of its snapshot."""
    return {
        key_column: version.key,
        **version.values,
        "is_deleted_flag": version.is_deleted_flag,
        "loaded_at": version.valid_from_at,
        "valid_from_at": version.valid_from_at,
        "valid_to_at": version.valid_to_at,
    }


def change_events(accounts: list[Version], customers: list[Version]) -> list[Row]:
    """The event log: one row per account and moment at which it, or the customer that it belongs to, changed."""
    events: list[Row] = []
    for account in accounts:
        owner = [version for version in customers if version.key == account.values["customer_id"]]
        replaced = next(
            (
                version
                for version in accounts
                if version.key == account.key
                and version.valid_to_at == account.valid_from_at
                and not version.is_deleted_flag
            ),
            None,
        )
        events.append(change_event(account, account.valid_from_at, owner, replaced=replaced))
        if account.is_deleted_flag:
            assert account.valid_to_at is not None
            events.append(change_event(account, account.valid_to_at, owner, is_gone=True))
        owner_moments = {version.valid_from_at for version in owner}
        owner_moments |= {version.valid_to_at for version in owner if version.is_deleted_flag and version.valid_to_at}
        for moment in owner_moments:
            if moment > account.valid_from_at and account.is_valid_at(moment):
                events.append(change_event(account, moment, owner))
    return events


def change_event(
    account: Version, moment: datetime, owner: list[Version], *, replaced: Version | None = None, is_gone: bool = False
) -> Row:
    """One row of the event log: what held for the account from the moment on.

    Args:
        account: The version that holds from the moment on, or that ends there when the account is gone.
        moment: Time of the event.
        owner: All versions of the customer that the account version belongs to.
        replaced: The account version that this one took the place of, at this moment.
        is_gone: Whether the event is that the account left the feed.
    """
    owner_now = next((version for version in owner if version.is_valid_at(moment)), None)
    if is_gone:
        status = "account_gone"
    elif owner_now is not None:
        status = "active"
    elif any(version.valid_from_at <= moment for version in owner):
        status = "customer_gone"
    else:
        status = "customer_unknown"
    return {
        "account_id": account.key,
        "customer_id": account.values["customer_id"],
        "customer_name": None if owner_now is None else owner_now.values["customer_name"],
        "has_loan_flag": None if owner_now is None else owner_now.values["has_loan_flag"],
        "balance_amount": account.values["balance_amount"],
        "account_type": account.values["account_type"],
        "previous_customer_id": None if replaced is None else replaced.values["customer_id"],
        "previous_account_type": None if replaced is None else replaced.values["account_type"],
        "event_status": status,
        "event_at": moment,
    }


def interest_rate(balance: Decimal, has_loan: bool, tiers: Iterable[Tier]) -> Decimal:
    """The yearly rate, as a fraction, of a savings account with this balance."""
    tier = max(
        (tier for tier in tiers if tier.balance_from_amount <= balance), key=lambda tier: tier.balance_from_amount
    )
    rate = tier.interest_rate_pct + (tier.loan_bonus_pct if has_loan else Decimal(0))
    return rate.quantize(RATE_STEP)


def calculated_at(last_event_at: datetime, rates_changed_at: datetime | None) -> datetime:
    """When a row was calculated: at the load that brought its last event, or when the rates changed after it."""
    return max(last_event_at, rates_changed_at or last_event_at)


def summarize_accounts(
    savings_events: list[Row], tiers: Iterable[Tier], rates_changed_at: datetime | None = None
) -> list[Row]:
    """One row for each account whose latest savings event says that it is an active savings account."""
    tiers = tuple(tiers)
    rows: list[Row] = []
    for account_id in sorted({event["account_id"] for event in savings_events}):
        latest = max(
            (event for event in savings_events if event["account_id"] == account_id),
            key=lambda event: event["event_at"],
        )
        if not latest["is_active_savings_flag"]:
            continue
        balance = latest["balance_amount"]
        rate = interest_rate(balance, latest["has_loan_flag"], tiers)
        interest = round_half_up(balance * rate)
        rows.append(
            {
                "account_id": account_id,
                "customer_id": latest["customer_id"],
                "original_balance_amount": balance,
                "interest_rate_pct": rate,
                "annual_interest_amount": interest,
                "new_balance_amount": balance + interest,
                "calculated_at": calculated_at(latest["event_at"], rates_changed_at),
            }
        )
    return rows


def profile_customers(
    account_summary: list[Row],
    savings_events: list[Row],
    customers: list[Version],
    rates_changed_at: datetime | None = None,
) -> list[Row]:
    """One row for each customer that holds at least one account of the summary."""
    rows: list[Row] = []
    for customer_id in sorted({row["customer_id"] for row in account_summary}):
        held = [row for row in account_summary if row["customer_id"] == customer_id]
        [current] = [version for version in customers if version.key == customer_id and version.valid_to_at is None]
        rows.append(
            {
                "customer_id": customer_id,
                "customer_name": current.values["customer_name"],
                "has_loan_flag": current.values["has_loan_flag"],
                "total_accounts_count": len(held),
                "total_balance_amount": sum((row["original_balance_amount"] for row in held), Decimal("0.00")),
                "total_annual_interest_amount": sum((row["annual_interest_amount"] for row in held), Decimal("0.00")),
                "calculated_at": calculated_at(
                    max(
                        event["event_at"]
                        for event in savings_events
                        if customer_id in (event["customer_id"], event["previous_customer_id"])
                    ),
                    rates_changed_at,
                ),
            }
        )
    return rows
