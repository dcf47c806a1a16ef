"""The contract of the two feeds: file names, columns in the order sent, and the column that identifies a row."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Feed:
    """One CSV extract.

    Attributes:
        name: Name of the feed; also of its change log (`landing.<name>`).
        file_name: File in the inputs folder.
        header: Column names in the file, exactly as sent.
        columns: Names of the same columns in `landing`, in the same order.
        key: The column of `columns` that identifies a row.
        amounts: Those of `columns` that hold amounts.
    """

    name: str
    file_name: str
    header: tuple[str, ...]
    columns: tuple[str, ...]
    key: str
    amounts: tuple[str, ...] = ()

    @property
    def key_column(self) -> str:
        """Column of the change log that holds the trimmed key as text."""
        return f"{self.name}_key"


CUSTOMER = Feed(
    name="customer",
    file_name="Customer.csv",
    header=("CustomerID", "Name", "HasLoan"),
    columns=("customer_id", "customer_name", "has_loan"),
    key="customer_id",
)
ACCOUNT = Feed(
    name="account",
    file_name="accounts.csv",
    header=("AccountID", "CustomerID", "Balance", "AccountType"),
    columns=("account_id", "customer_id", "balance", "account_type"),
    key="account_id",
    amounts=("balance",),
)
FEEDS = (CUSTOMER, ACCOUNT)
