"""Hypothesis strategies for sequences of feeds, and a writer that puts a load into files.

What is drawn is edits: which keys of a small pool a file treats otherwise than the file before it, and how. A file
without edits is sent again as it was. So a failing sequence shrinks to the few edits that it needs.
"""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import combinations
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from scripts.feeds import ACCOUNT, CUSTOMER, Feed
from tests.reference import Load

Content = tuple[str, ...]

FIRST_LOADED_AT = datetime.fromisoformat("2024-01-15T02:00:00")

# What a key's row is when it comes, apart from the edit that brings it. The first file begins with some of them.
# Account A4 belongs to a customer that is not there at first, A6 to one that never is unless an odd key brings it.
CUSTOMER_ROWS = (("1", "Ana", "no"), ("2", "Bob", "yes"), ("3", "Cat", "no"), ("4", "Dan", ""))
CUSTOMERS_AT_FIRST = 2
ACCOUNT_ROWS = (
    ("A1", "1", "100", "savings"),
    ("A2", "1", "9999.99", "savings"),
    ("A3", "2", "50", "checking"),
    ("A4", "3", "20000", "savings"),
    ("A5", "2", "10000", "savings"),
    ("A6", "9" * 18, "0", "savings"),
)
ACCOUNTS_AT_FIRST = 3
ODD_CUSTOMER_KEYS = ("007", "", "+7", "0", "9" * 18, "1" + "0" * 18, "N/A", "1.0", "-1", "\u0661", "CustomerID")
ODD_ACCOUNT_KEYS = (
    *("a1", "", "none", "A 1", "A\n1", "007", "N/A", '"A"', "\u00c51", "A\u30001"),
    *("A1\u200b", "\ufeffA2", "A\u00853", "A3\ue000", "A\u03781", "A\u20281", "A1\U000e0001"),
)

# Customers 1 to 4 come and go; 5 and the 18 digits are in the feed rarely or never.
OWNERS = ("1", "2", "3", "4", "1", "2", "3", "5", "9" * 18)
BAD_OWNERS = ("", "n/a", "01", "+1", "0", "1.0", "1e3", "one", "1" * 19, "\u0661", "1 2")

NAMES = (
    "Ana",
    "Bob",
    "ana",
    "O'Brien",
    "Smith, John",
    'Ann "Annie" Lee',
    "Zo\u00eb \u00d6zt\u00fcrk",
    "\u674e \u96f7",
    "Line\nBreak",
    "Carriage\r\nReturn",
    "Lone\rReturn",
    "No\u00a0Break",
    "Thin\u2009\u3000Wide",
    "Unit\x1fSeparator",
    "Zero\u200bWidth",
    "Tab\tTab",
    "Emoji \U0001f600",
    "e\u0301 is not \u00e9",
    "\\N",
    "null and void",
    "#1; a|b",
    "007",
)
BAD_NAMES = ("", " ", "N/A", "null", " NONE ", "\u00a0", "\n")
NAME_ALPHABET = "ab \u00e9\u00df\"',\n\t\u00a0\u2003\u200b\\;"

LOANS = ("no", "yes", "", "Y", "1", "TRUE", "n", "0", "False", "N/A")
BAD_LOANS = ("maybe", "2", "yes!", "ja", "y e s", "-1", "01", "t")
SAME_LOANS = (("yes", "Y", "YES", "true", "1", " yes "), ("no", "N", "", "False", "0", "NULL", "n/a", " none\t"))

BALANCES = (
    "100",
    "0",
    "9999.99",
    "9999.994",
    "9999.995",
    "10000",
    "10000.00",
    "19999.99",
    "19999.995",
    "20000",
    "20000.005",
    "123.45",
    "0.005",
    "0.004",
    "-0",
    "-0.00",
    "+5",
    "007.50",
    "33.335",
    "1.004999999999999999999",
    "9999999999999999.99",
    "9999999999999999.994",
)
BAD_BALANCES = (
    "",
    "N/A",
    "-5",
    "-0.001",
    "1e5",
    "1,000",
    "$5",
    "5.",
    ".5",
    "+",
    "--5",
    "+-5",
    "1 000",
    "1_000",
    "5.0.0",
    "NaN",
    "Infinity",
    "0x10",
    "\u0661\u0662",
    "9999999999999999.995",
    "10000000000000000",
    "9" * 40,
    "0" * 16 + "5",
    "-" + "9" * 40,
    "abc",
)
TYPES = ("savings", "checking", "CHECKING", "Savings")
BAD_TYPES = ("", "null", "saving", "brokerage", "savings account", "savings,checking")

PADDINGS = (" ", "  ", "\t", "\u00a0", "\u3000", "\n", "\r\n", "\u2028", "\u0085")

GAPS = (
    timedelta(hours=1),
    timedelta(days=1),
    timedelta(minutes=5),
    timedelta(seconds=1),
    timedelta(minutes=59, seconds=59),
    timedelta(hours=1, minutes=30),
    timedelta(days=3, hours=5),
)
EXTRAS = tuple(timedelta(microseconds=extra) for extra in (0, 0, 0, 1, 250_000, 999_999))

# What happens to a key between one file and the next, with weights. The first is what a failing sequence shrinks to.
ACTIONS = {"set": 6, "leave": 3, "restyle": 2, "earlier": 3, "soil": 2, "repeat": 1, "conflict": 1, "damage": 2}

# Lines that are no sound record, made of a key, the record's other fields and its last one. The first five name the
# key, the next one another; the rest hide it: no comma ends it, it is blank, or another record may stand behind it.
DAMAGED_LINES = (
    "{key},{cut}",
    "{key},{others},extra",
    '{key},{cut},"{last}',
    '"{key}",{cut}',
    "\u00a0{key}\t,{cut}",
    "{last},extra",
    '"{key},{others}',
    '"",{cut}',
    "{key},{others}{key},{others}",
    '{key},"{last}\n{last}"',
)


@dataclass(frozen=True)
class Edit:
    """How the next file treats one key. It draws nothing from the files before, so that it can be left out alone.

    Attributes:
        key: The key.
        action: One of `ACTIONS`.
        values: New text by position of the column, for the actions that change some.
        number: Chooses among what the action leaves open: the form, the earlier content, the order, the repeats, the
            damage.
    """

    key: str
    action: str
    values: dict[int, str]
    number: int


@dataclass(frozen=True)
class Step:
    """One load before it is applied to the files: time since the last one, edits, and whether rows are shuffled."""

    gap: timedelta
    customer: list[Edit]
    account: list[Edit]
    shuffled: bool


@dataclass
class KeyState:
    """What the files so far held for one key: its rows and damaged lines in the last file, and every content that it
    ever had."""

    rows: list[Content] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    past: list[Content] = field(default_factory=list)


def feed_sequences(
    min_loads: int = 6, max_loads: int = 8, gaps: Sequence[timedelta] = GAPS
) -> SearchStrategy[list[Load]]:
    """Sequences of loads, strictly rising in time, in which few keys come, change, go and return.

    Args:
        min_loads: Least number of loads of a sequence.
        max_loads: Greatest number.
        gaps: Times between two loads to choose from, the simplest first; up to a second more is added to some.
    """
    names = st.one_of(st.sampled_from(NAMES), st.sampled_from(NAMES), st.text(NAME_ALPHABET, max_size=6))
    customer_edits = _edits(
        keys=[row[0] for row in CUSTOMER_ROWS] * 6 + list(ODD_CUSTOMER_KEYS),
        good=(names, st.sampled_from(LOANS)),
        bad=(st.sampled_from(BAD_NAMES), st.sampled_from(BAD_LOANS)),
    )
    account_edits = _edits(
        keys=[row[0] for row in ACCOUNT_ROWS] * 4 + list(ODD_ACCOUNT_KEYS),
        good=(st.sampled_from(OWNERS), st.sampled_from(BALANCES), st.sampled_from(TYPES)),
        bad=(st.sampled_from(BAD_OWNERS), st.sampled_from(BAD_BALANCES), st.sampled_from(BAD_TYPES)),
    )
    steps = st.builds(
        Step,
        gap=st.sampled_from([gap + extra for extra in EXTRAS for gap in gaps]),
        customer=st.lists(customer_edits, max_size=5),
        account=st.lists(account_edits, max_size=7),
        shuffled=st.sampled_from((False, False, True)),
    )
    return st.lists(steps, min_size=min_loads, max_size=max_loads).map(_apply)


@st.composite
def _edits(
    draw: DrawFn,
    keys: Sequence[str],
    good: tuple[SearchStrategy[str], ...],
    bad: tuple[SearchStrategy[str], ...],
) -> Edit:
    """Edits of one feed, whose key is the first column; `good` and `bad` draw the others."""
    key = draw(st.sampled_from(keys))
    action = draw(st.sampled_from([action for action, weight in ACTIONS.items() for _ in range(weight)]))
    values = {}
    if action in ("set", "soil", "conflict"):
        columns = range(len(good))
        subsets = [subset for size in (1, 1, 2, 3) for subset in combinations(columns, size)]
        strategies = bad if action == "soil" else good
        values = {column + 1: draw(strategies[column]) for column in draw(st.sampled_from(subsets))}
    number = draw(st.integers(0, 119)) if action in ("restyle", "earlier", "repeat", "conflict", "damage") else 0
    return Edit(key, action, values, number)


def _apply(steps: list[Step]) -> list[Load]:
    """The loads that the steps make, one after the other."""
    customers = {row[0]: KeyState([row]) for row in CUSTOMER_ROWS[:CUSTOMERS_AT_FIRST]}
    accounts = {row[0]: KeyState([row]) for row in ACCOUNT_ROWS[:ACCOUNTS_AT_FIRST]}
    loads: list[Load] = []
    loaded_at = FIRST_LOADED_AT
    for number, step in enumerate(steps):
        loaded_at += step.gap if number else timedelta(0)
        customer = _file(CUSTOMER, customers, step.customer, CUSTOMER_ROWS)
        account = _file(ACCOUNT, accounts, step.account, ACCOUNT_ROWS)
        if step.shuffled:
            random.Random(number).shuffle(customer)
            random.Random(number).shuffle(account)
        states = {CUSTOMER.name: customers, ACCOUNT.name: accounts}
        damaged = {feed: [line for state in keys.values() for line in state.damaged] for feed, keys in states.items()}
        loads.append(Load(loaded_at, customer, account, damaged))
    return loads


def _file(feed: Feed, states: dict[str, KeyState], edits: list[Edit], first_rows: Sequence[Content]) -> list[Content]:
    """The rows of the next file, at least one; the keys' states follow.

    An odd key and a damaged line leave with the next edit of any key, lest they pile up.
    """
    usual_keys = {row[0] for row in first_rows}
    for key, state in states.items():
        if edits:
            state.damaged = []
        if edits and key not in usual_keys:
            state.rows = []
    for edit in edits:
        state = states.setdefault(edit.key, KeyState())
        default = (edit.key, *first_rows[0][1:])
        first_row = next((row for row in first_rows if row[0] == edit.key), default)
        state.rows = _rows_of_key(feed, state, first_row, edit)
        state.damaged = _damaged_lines(default, edit)
    if not any(state.rows for state in states.values()):
        states[first_rows[0][0]].rows = [first_rows[0]]
    for state in states.values():
        state.past.extend(row for row in dict.fromkeys(state.rows) if row not in state.past)
    return [row for state in states.values() for row in state.rows]


def _rows_of_key(feed: Feed, state: KeyState, first_row: Content, edit: Edit) -> list[Content]:
    """What the next file holds for one key."""
    if edit.action == "leave":
        return []
    if edit.action == "damage":
        return state.rows if edit.number % 4 == 3 else []
    if edit.action == "earlier" and state.past:
        return [state.past[-1 - edit.number % len(state.past)]]
    row = state.rows[0] if state.rows else first_row
    if edit.action in ("set", "soil"):
        return [_replaced(row, edit.values)]
    if edit.action == "restyle":
        return [_restyled(feed, row, edit.number)]
    if edit.action == "repeat":
        return [row] * (2 + edit.number % 2)
    if edit.action == "conflict":
        other = _restyled(feed, row, edit.number) if edit.number % 5 == 4 else _replaced(row, edit.values)
        return ([row, other], [other, row], [row, other, row])[edit.number % 3]
    return [row]


def _damaged_lines(row: Content, edit: Edit) -> list[str]:
    """What the next file holds of the row that is no sound record; a key that needs quotes itself has no such line."""
    key, *others = row
    if edit.action != "damage" or set(key) & set('",\r\n'):
        return []
    form = DAMAGED_LINES[edit.number % len(DAMAGED_LINES)]
    return [form.format(key=key, others=",".join(others), cut=",".join(others[:-1]), last=others[-1])]


def _replaced(row: Content, values: Mapping[int, str]) -> Content:
    return tuple(values.get(position, text) for position, text in enumerate(row))


def _restyled(feed: Feed, row: Content, number: int) -> Content:
    """The row with one field in another form that means the same: padded, in another case, spelt differently."""
    position = len(row) - 1 - number % len(row)
    forms = _same_meaning(feed.columns[position], row[position])
    return _replaced(row, {position: forms[number // len(row) % len(forms)]})


def _same_meaning(column: str, text: str) -> list[str]:
    forms: list[str] = []
    if column == "customer_name":
        forms += [text.replace(" ", gap) for gap in ("  ", "\u00a0", "\n") if " " in text]
    elif column == "has_loan":
        forms += [form for same in SAME_LOANS if text.lower() in [other.lower() for other in same] for form in same]
    elif column == "account_type":
        forms += [text.upper(), text.title(), text.lower()]
    elif column == "balance" and text.replace(".", "", 1).isdecimal():
        forms += [f"+{text}", f"{text}0" if "." in text else f"{text}.00", f"{text}000" if "." in text else f"{text}.0"]
    return forms + [f"{text}{padding}" for padding in PADDINGS] + [f"{padding}{text}" for padding in PADDINGS]


def csv_styles() -> SearchStrategy[dict[str, str | bool]]:
    """Keyword arguments for `write_feeds`: the ordinary differences between CSV files that hold the same rows."""
    return st.fixed_dictionaries(
        {
            "line_terminator": st.sampled_from(("\n", "\r\n")),
            "quote_all": st.booleans(),
            "byte_order_mark": st.booleans(),
            "final_newline": st.sampled_from((True, False)),
        }
    )


def write_feeds(
    load: Load,
    folder: Path,
    *,
    line_terminator: str = "\n",
    quote_all: bool = False,
    byte_order_mark: bool = False,
    final_newline: bool = True,
) -> None:
    """Write the load as `Customer.csv` and `accounts.csv` (UTF-8) into a folder, which is made if it is missing.

    Args:
        load: Rows to write; every field comes back exactly as it is. Damaged lines come last: an open quote would
            otherwise have a say in how the rows after it are read.
        folder: Where the two files go; files of these names are replaced.
        line_terminator: What ends a line of the file. Line ends inside of fields stay as they are.
        quote_all: Whether fields are quoted that need not be.
        byte_order_mark: Whether the file begins with one.
        final_newline: Whether the last line is ended.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for feed, rows in ((CUSTOMER, load.customer), (ACCOUNT, load.account)):
        lines = [_csv_line(row, line_terminator, quote_all) for row in (feed.header, *rows)]
        lines += [line + line_terminator for line in load.damaged.get(feed.name, ())]
        text = "".join(lines) if final_newline else "".join(lines).removesuffix(line_terminator)
        data = text.encode("utf-8-sig" if byte_order_mark else "utf-8")
        (folder / feed.file_name).write_bytes(data)


def _csv_line(row: Sequence[str], line_terminator: str, quote_all: bool) -> str:
    # The csv module of Python 3.11 quotes a field for the line end that it writes, not for the other kinds.
    must_quote = quote_all or any("\r" in text or "\n" in text for text in row)
    line = io.StringIO(newline="")
    writer = csv.writer(
        line, quoting=csv.QUOTE_ALL if must_quote else csv.QUOTE_MINIMAL, lineterminator=line_terminator
    )
    writer.writerow(row)
    return line.getvalue()
