"""What a load must not do to what is known unless it is allowed to: nothing is written of a load that does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from sqlglot import exp

from macros.text import absent, of_form, plain_amount
from scripts.errors import FeedRefusedError
from scripts.feeds import ACCOUNT, CUSTOMER, FEEDS, Feed
from scripts.ingest.change_capture import CapturedChanges, ChangeCounts, is_committed
from scripts.ingest.outlook import Outlook
from scripts.results import Event, FeedLoad
from scripts.settings import Settings
from scripts.sql import timestamp_literal
from scripts.warehouse import Warehouse
from scripts.wording import count, words

# Of fewer a share says nothing.
CHECKED_FROM = 20

_REMEDY = (
    "Nothing was written. Ask for the file again; if it is right, run once with --allow-quarantine (beside "
    "--allow-removals where keys are really gone), or set MAX_QUARANTINED_SHARE."
)


def refuse_truncated_feed(counts: ChangeCounts, path: Path, max_removed_share: float) -> None:
    """Refuses a file that lacks too many of the known keys."""
    known, missing = counts.known_key_count, counts.missing_key_count
    if _are_too_many(missing, known, max_removed_share):
        raise FeedRefusedError(
            f"{path} lacks {missing:,} of the {known:,} known keys ({missing / known:.0%}; at most "
            f"{max_removed_share:.0%} may leave at once): the file looks truncated. Ask for it again; if they are "
            "really gone, run once with --allow-removals, or set MAX_REMOVED_SHARE."
        )


def warn_of_removals(warehouse: Warehouse, loads: Iterable[FeedLoad], warn_share: float) -> Iterator[Event]:
    """The files of a taken load that removed more of the known keys than goes without a warning."""
    for load in (load for load in loads if load.gone_count):
        known, gone = _known_before(warehouse, load), load.gone_count
        if _are_too_many(gone, known, warn_share):
            message = (
                f"This load removed {gone:,} of the {count(known, words(load.feed))} known before ({gone / known:.1%}; "
                f"more than {warn_share:.1%} is a warning)."
            )
            yield Event("removed", gone, message)


def warn_of_ambiguous_amounts(warehouse: Warehouse, loads: Iterable[FeedLoad]) -> Iterator[Event]:
    """The amounts with exactly three decimals among the new and changed rows of a taken load, by column, where the
    contract does not say that they are meant: with another separator of decimals they are a thousand times as much."""
    moments = {load.feed: timestamp_literal(load.loaded_at) for load in loads if load.new_count + load.changed_count}
    for feed in (feed for feed in FEEDS if feed.name in moments):
        separator = feed.format.decimal_separator
        for column in feed.declared:
            if column.type == "number" and not column.options.three_decimals:
                form = _is_amount(feed, column.name, "[+-]?[0-9]+[.][0-9]{3}").sql(dialect="duckdb")
                # The second condition says it all, and takes five times as long.
                is_ambiguous = f"{column.name} LIKE '%{separator}___%' AND {form}"
                ((found,),) = warehouse.fetch(
                    f"SELECT COUNT(CASE WHEN {is_ambiguous} THEN 1 END) FROM landing.{feed.name} "
                    f"WHERE loaded_at = {moments[feed.name]}"
                )
                message = (
                    f"{count(found, 'amount')} of {column.header} in {feed.file_name} "
                    f"{'has' if found == 1 else 'have'} exactly three decimals. Declare in feeds/{feed.name}.yaml that "
                    f"{separator!r} separates thousands, or by threeDecimals that they are meant."
                )
                yield from [Event("three_decimals", found, message)] if found else []


def refuse_emptied_column(
    warehouse: Warehouse, changes: CapturedChanges, counts: ChangeCounts, path: Path, max_shift: float
) -> None:
    """Refuses a file in which a column is without a value in far more of the rows than it was before."""
    # No share can grow by more than that of the rows that differ: on most days there is nothing to count.
    if counts.known_row_count < CHECKED_FROM or counts.differing_share <= max_shift:
        return
    feed = changes.feed
    for column, before, after in _shares_without_value(warehouse, changes):
        if after - before > max_shift:
            name = feed.header[feed.columns.index(column)]
            raise FeedRefusedError(
                f"{path}: the column {name} is {'zero or ' if column in feed.amounts else ''}without a value in "
                f"{after:.0%} of the rows; before it was in {before:.0%}, and at most {max_shift:.0%} of the rows may "
                "come on top of that. It looks emptied. Nothing was written. Ask for the file again; if it is right, "
                "run once with --allow-shift, or set MAX_COLUMN_SHIFT."
            )


def refuse_mass_quarantine(outlook: Outlook, feed: Feed, settings: Settings) -> None:
    """Refuses a file of whose new and changed rows too many break one and the same rule.

    A fault on the sender's side makes many rows break one rule. A row or two against each of the rules is the ordinary
    dirt of a small file, and what the quarantine is for.
    """
    rows, reasons = outlook.reasons(feed)
    worst, max_share = max(reasons.values(), default=0), settings.max_quarantined_share
    if _are_too_many(worst, rows, max_share):
        raise FeedRefusedError(
            f"{settings.input_path / feed.file_name}: {worst:,} of the {rows:,} new and changed rows "
            f"({worst / rows:.0%}; at most {max_share:.0%} may) would be quarantined for one reason. All reasons: "
            f"{_counted(reasons)}. {_REMEDY}"
        )


def refuse_lost_rows(outlook: Outlook, settings: Settings) -> None:
    """Refuses a load that would leave too many accounts without a known customer, or a mart without too many rows.
    Accounts that leave the feed do not count: what may leave is for the guard on removals to say."""
    inputs, max_share = settings.input_path, settings.max_quarantined_share
    (accounts, reasons), marts = outlook.effect()
    held_back = reasons.total()
    if _are_too_many(held_back, accounts, max_share):
        raise FeedRefusedError(
            f"{inputs}: {held_back:,} of the {accounts:,} valid accounts ({held_back / accounts:.0%}; at most "
            f"{max_share:.0%} may) would be held back by this load, for want of a valid customer: "
            f"{_counted(reasons)}. {CUSTOMER.file_name} and {ACCOUNT.file_name} do not fit together. {_REMEDY}"
        )
    for mart, (rows, lost) in marts.items():
        gone = lost.total()
        if _are_too_many(gone, rows, max_share):
            raise FeedRefusedError(
                f"{inputs}: marts.{mart} would lose {gone:,} of its {rows:,} rows ({gone / rows:.0%}; at most "
                f"{max_share:.0%} may) by this load, though the accounts are still in the feed: {_counted(lost)}. "
                f"{_REMEDY}"
            )


def _known_before(warehouse: Warehouse, load: FeedLoad) -> int:
    """Keys of its feed that were known before a load, from the log: each came new so many times, and left in between.
    All rows of a key that comes new are new, so that as many rows as it has make one key."""
    query = f"""
        SELECT change_type, rows_for_key_count, COUNT(*) FROM landing.{load.feed}
        WHERE change_type <> 'changed' AND loaded_at < {timestamp_literal(load.loaded_at)} AND {is_committed(load.feed)}
        GROUP BY change_type, rows_for_key_count
        """
    found = warehouse.fetch(query)
    return sum(number // rows_for_key if change == "new" else -number for change, rows_for_key, number in found)


def _are_too_many(part: int, whole: int, max_share: float) -> bool:
    return whole >= CHECKED_FROM and part > max_share * whole


def _counted(reasons: Counter[str]) -> str:
    return ", ".join(f"{words(reason)} {number:,}" for reason, number in reasons.most_common() if number)


def _shares_without_value(warehouse: Warehouse, changes: CapturedChanges) -> list[tuple[str, float, float]]:
    """Of each column but the key, the share of the different rows without a value: before and with this load."""
    feed, key = changes.feed, changes.feed.key_column
    columns = [column for column in feed.columns if column != feed.key]
    shares = ", ".join(
        f"SUM(CASE WHEN {_is_without_value(feed, column)} THEN {held} ELSE 0 END) / CAST(SUM({held}) AS DOUBLE)"
        for column in columns
        for held in ("was_held", "is_held")
    )
    query = f"""
        SELECT {shares}
        FROM (
            SELECT {", ".join(columns)}, 1 AS was_held, CASE WHEN differing.{key} IS NULL THEN 1 ELSE 0 END AS is_held
            FROM {changes.known} AS known
            LEFT JOIN {changes.differing} AS differing ON differing.{key} = known.{key}
            UNION ALL
            SELECT {", ".join(columns)}, 0, 1 FROM {changes.present}
        ) AS compared
        """
    (found,) = warehouse.fetch(query)
    return list(zip(columns, found[::2], found[1::2], strict=True))


def _is_without_value(feed: Feed, column: str) -> str:
    is_absent = absent(exp.column(column))
    is_zero = [_is_amount(feed, column, "[+-]?0+([.]0+)?")] if column in feed.amounts else []
    return exp.or_(is_absent, *is_zero).sql(dialect="duckdb")


def _is_amount(feed: Feed, column: str, form: str) -> exp.Expr:
    """Whether a column holds an amount that is of a form once it is written with a decimal point."""
    return of_form(plain_amount(exp.column(column), *feed.format.separators), form)
