"""Variants of the project that a person might make on a branch, and what the plain reference says of each."""

from __future__ import annotations

import copy
import os
import zlib
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from scripts.settings import PROJECT_ROOT
from tests.reference import DEFAULT_TIERS, YES, Reference, Row, Tier

SUMMARY = "models/marts/account_summary.sql"
STAGED = "models/staging/stg_account.sql"
JUDGED = "models/staging/judged_customer.sql"
SEED = "seeds/interest_rate_tier.csv"
PARTS = (SUMMARY, STAGED, JUDGED, SEED)

BALANCE = "  balance_amount::DECIMAL(18, 2) AS original_balance_amount, /* Balance now */\n"
COPIED = "  balance_amount::DECIMAL(18, 2) AS copied_balance_amount, /* The same once more */\n"

# An optional column, to be put at the end of a feed's contract.
BRANCH = """
      - name: branch
        physicalName: Branch
        logicalType: string
        required: false
        description: Branch
"""


@dataclass(frozen=True)
class Variant:
    """The project with some changes.

    Attributes:
        summary_words: Which words describe the mart of accounts; 0 is the project's own.
        staged_words: The same of the staged accounts.
        top_rate: Rate of the highest tier.
        copies_balance: Whether the mart of accounts has one column more.
        reads_ja: Whether "ja" says, too, that a customer has a loan.
    """

    summary_words: int = 0
    staged_words: int = 0
    top_rate: str = "0.0200"
    copies_balance: bool = False
    reads_ja: bool = False

    def write(self, project: Path) -> None:
        """Has a copy of the project hold this variant; files that hold it already are left alone."""
        for part in PARTS:
            text = self._text(part)
            path = project / part
            if path.read_text(encoding="utf-8") != text:
                path.write_text(text, encoding="utf-8")
                # SQLMesh's cache goes by the newest time of the files that a model is made of: the same text has the
                # same time, and one after those of all files that stay as they are.
                moment = 4_000_000_000 + zlib.crc32(text.encode()) % 100_000_000
                os.utime(path, (moment, moment))

    def tables(self, loaded: Reference) -> dict[str, list[Row]]:
        """Every table after the loads that a reference took, by the rules of this variant."""
        reference = copy.copy(loaded)
        reference.tiers = self.tiers()
        reference.loan_words = frozenset(YES | {"ja"} if self.reads_ja else YES)
        tables = reference.tables()
        if self.copies_balance:
            for row in tables["marts.account_summary"]:
                row["copied_balance_amount"] = row["original_balance_amount"]
        return tables

    def tiers(self) -> tuple[Tier, ...]:
        """The rates of this variant."""
        top = DEFAULT_TIERS[-1]
        return (*DEFAULT_TIERS[:-1], Tier(top.balance_from_amount, Decimal(self.top_rate), top.loan_bonus_pct))

    def _text(self, part: str) -> str:
        text = (PROJECT_ROOT / part).read_text(encoding="utf-8")
        if part == SUMMARY:
            text = _described(text, self.summary_words)
            return _replaced(text, BALANCE, BALANCE + COPIED) if self.copies_balance else text
        if part == STAGED:
            return _described(text, self.staged_words)
        if part == JUDGED:
            return _replaced(text, "'true', '1'", "'true', '1', 'ja'") if self.reads_ja else text
        return _replaced(text, "20000.00,0.0200", f"20000.00,{self.top_rate}")


def _described(text: str, words: int) -> str:
    return _replaced(text, "Answers:", f"Answers ({words}):") if words else text


def _replaced(text: str, old: str, new: str) -> str:
    assert old in text, old
    return text.replace(old, new)
