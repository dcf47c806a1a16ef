"""Made-up daily feeds of any size: `python -m tools.generate_feed --accounts 1000000 --days 3 --out DIR`.

Every field is a pure function of (seed, key, day), worked out by DuckDB from hashes and whole numbers and streamed to
the file in key order. So equal arguments give equal bytes, whatever the number of threads (with the DuckDB release that
requirements.txt pins: another one may hash differently), memory doesn't grow with the number of rows, and a key that
doesn't change on a day keeps its line byte for byte, dirt included.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

import click
import duckdb

from scripts.feeds import ACCOUNT, CUSTOMER, Feed
from scripts.sql import text_literal

PARTS_PER_MILLION = 1_000_000
# Of the keys that differ from one day to the next, nine in ten changed; the others came or left in equal parts.
CHANGED_PART = 0.9
LEAVING_PART = 0.05
ARRIVING_PART = 0.05
# One leaving key in four is back after this many days.
DAYS_AWAY = 3

FIRST_NAMES = (
    "Aaliyah", "Aarav", "Abebe", "Adriana", "Ahmed", "Aiko", "Alejandro", "Alice", "Amara", "Anders", "Ángel", "Anna",
    "Aoife", "Arjun", "Astrid", "Ayşe", "Beatriz", "Benjamin", "Björn", "Camila", "Carlos", "Carmen", "Charlotte",
    "Chen", "Chidi", "Chloé", "Daniel", "David", "Diego", "Dmitri", "Elena", "Elias", "Élodie", "Emily", "Emma",
    "Fatima", "Felipe", "Fiona", "François", "Gabriela", "George", "Giulia", "Grace", "Hana", "Hannah", "Hassan",
    "Henry", "Hiroshi", "Ibrahim", "Imani", "Ingrid", "Isabella", "Ivan", "Jack", "Jamal", "James", "Jin", "João",
    "José", "Julia", "Kareem", "Katarzyna", "Kenji", "Kofi", "Lars", "Laura", "Layla", "Leila", "Liam", "Linh",
    "Lucía", "Łukasz", "Maria", "Marcus", "Mateo", "Mei", "Michael", "Miguel", "Min-jun", "Mohammed", "Nadia",
    "Ngozi", "Nia", "Noah", "Noor", "Olga", "Oliver", "Olivia", "Omar", "Patrick", "Pedro", "Priya", "Rachel", "Ravi",
    "Rosa", "Samuel", "Sara", "Sébastien", "Seo-yeon", "Sofia", "Søren", "Sunita", "Tariq", "Thabo", "Thomas",
    "Valentina", "Victor", "Wei", "William", "Xiomara", "Yara", "Yuki", "Yusuf", "Zanele", "Zoë", "Zofia",
)  # fmt: skip
LAST_NAMES = (
    "Abdullah", "Adeyemi", "Ahmed", "Ali", "Álvarez", "Andersson", "Banerjee", "Bauer", "Becker", "Bergström",
    "Brown", "Castillo", "Chang", "Chen", "Cohen", "Costa", "D'Angelo", "Da Silva", "Davies", "De Vries", "Demir",
    "Diallo", "Díaz", "Dubois", "Eriksen", "Evans", "Fernández", "Ferrari", "Fischer", "Flores", "Fontaine", "Fraser",
    "García", "Gómez", "González", "Green", "Gupta", "Haddad", "Hansen", "Harris", "Hassan", "Hernández", "Hoffmann",
    "Horváth", "Ibrahim", "Ivanova", "Jackson", "Jansen", "Jensen", "Jiménez", "Johnson", "Jones", "Kaplan", "Kaur",
    "Keita", "Khan", "Kim", "Kovač", "Kowalski", "Kumar", "Larsen", "Laurent", "Lee", "Lewis", "Li", "Lindqvist",
    "López", "MacDonald", "Mahmoud", "Martin", "Martínez", "Mbeki", "McCarthy", "Mendoza", "Meyer", "Mokoena",
    "Moreau", "Morgan", "Müller", "Murphy", "Mwangi", "Nakamura", "Nguyen", "Nilsson", "Novák", "Nowak", "Núñez",
    "O'Brien", "O'Neill", "Okafor", "Okonkwo", "Oliveira", "Öztürk", "Park", "Patel", "Pereira", "Pérez", "Petrov",
    "Pham", "Popescu", "Rahman", "Ramírez", "Reyes", "Roberts", "Rodríguez", "Rossi", "Ruiz", "Sánchez", "Santos",
    "Sato", "Schmidt", "Sharma", "Silva", "Singh", "Smith", "Sørensen", "Suzuki", "Takahashi", "Tanaka", "Taylor",
    "Thompson", "Torres", "Tran", "Usman", "van den Berg", "Vargas", "Vasquez", "Volkov", "Walker", "Wang", "Weber",
    "White", "Williams", "Wilson", "Wiśniewska", "Wójcik", "Wong", "Wright", "Yamamoto", "Yilmaz", "Young", "Zhang",
    "Zimmermann",
)  # fmt: skip


@dataclass(frozen=True)
class FeedPlan:
    """What to generate.

    Attributes:
        account_count: Accounts on the first day; customers are half as many, at least one.
        change_share: Share (0 to 1) of the keys that differ from one day to the next.
        dirty_share: Share (0 to 1) of the rows that are untidy or break a rule.
        seed: Another seed gives other people and other money.
        first_day: Date of day 0.
    """

    account_count: int
    change_share: float = 0.1
    dirty_share: float = 0.01
    seed: int = 1
    first_day: date = date(2024, 1, 1)

    def key_count(self, feed: Feed) -> int:
        """Number of keys of a feed on the first day."""
        return self.account_count if feed is ACCOUNT else max(1, self.account_count // 2)

    def day_folder(self, out: Path, day: int) -> Path:
        """Folder of the feed of a day (0 = first) under `out`: `<out>/<YYYY-MM-DD>`."""
        return out / (self.first_day + timedelta(days=day)).isoformat()


def write_feeds(plan: FeedPlan, days: int, out: Path, threads: int | None = None) -> Iterator[tuple[Path, int]]:
    """Write `<out>/<YYYY-MM-DD>/Customer.csv` and `accounts.csv` for `days` days, the first day first.

    Args:
        plan: What to generate.
        days: Number of days, at least 1.
        out: Folder for the folders of the days; made where missing, files of the same name are replaced.
        threads: DuckDB's threads, None for one per core. Doesn't change the bytes.

    Yields:
        Path and size in bytes of each file, once it is complete.
    """
    for day in range(days):
        yield from write_day(plan, day, out, threads)


def write_day(plan: FeedPlan, day: int, out: Path, threads: int | None = None) -> Iterator[tuple[Path, int]]:
    """Write the two files of one day (0 = first) alone, the same bytes as `write_feeds`, which yields the same."""
    folder = plan.day_folder(out, day)
    folder.mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as connection:
        connection.execute("SET preserve_insertion_order = true")
        if threads is not None:
            connection.execute(f"SET threads = {threads:d}")
        for feed in (CUSTOMER, ACCOUNT):
            path = folder / feed.file_name
            connection.execute(feed_statement(plan, feed, day, path))
            yield path, path.stat().st_size


def feed_statement(plan: FeedPlan, feed: Feed, day: int, path: Path) -> str:
    """The COPY statement that writes one file.

    The lines are put together in SQL and written with quoting off, since dirty ones are not what a CSV writer would
    write. A row of the query is one line, or two where the dirt is a second line for the key.
    """
    lines = _account_lines(plan) if feed is ACCOUNT else _customer_lines()
    header = ",".join(feed.header)
    return f"""
        COPY (
            WITH living AS ({_living_keys(plan, feed, day)}),
            {lines}
            SELECT line AS "{header}" FROM line
        ) TO {text_literal(path)} (FORMAT csv, HEADER true, DELIMITER '\x1f', QUOTE '', ESCAPE '', USE_TMP_FILE true)
    """


def _living_keys(plan: FeedPlan, feed: Feed, day: int) -> str:
    """Query of the keys that the feed holds on a day, in key order.

    Columns: `key`; `version`, the number of times the key's row has changed; `h`, a hash of the key; `dirt`, the kind
    of dirt (0 to 99) of this version or NULL. A key changes when `phase + day * share` passes a whole number, and
    leaves on a day of its own: so each day has its exact share, and no day has to know the one before it.
    """
    initial = plan.key_count(feed)
    salt = f"{plan.seed:d}, '{feed.name}'"
    arriving_count = round(initial * plan.change_share * ARRIVING_PART)
    change_ppm = round(plan.change_share * CHANGED_PART * PARTS_PER_MILLION)
    dirty_ppm = round(plan.dirty_share * PARTS_PER_MILLION)
    leaving_share = plan.change_share * LEAVING_PART
    if leaving_share > 0:
        leaving_day = f"born + 1 + (h >> 8) % {max(1, round(1 / leaving_share))}"
        present = f"{day} < {leaving_day} OR ((h >> 4) % 4 = 0 AND {day} >= {leaving_day} + {DAYS_AWAY})"
    else:
        present = "true"
    return f"""
        SELECT
            key,
            version,
            h,
            CASE WHEN hash(h, version, 'dirt') % {PARTS_PER_MILLION} < {dirty_ppm}
                THEN hash(h, version, 'kind') % 100 END AS dirt
        FROM (
            SELECT
                range AS key,
                hash(range, {salt}) AS h,
                CASE WHEN range <= {initial} THEN 0
                    ELSE 1 + (range - {initial + 1}) // {max(1, arriving_count)} END AS born,
                ((h >> 20) % {PARTS_PER_MILLION} + {day * change_ppm}) // {PARTS_PER_MILLION} AS version
            FROM range(1, {initial + arriving_count * day + 1})
        )
        WHERE {present}
    """


def _customer_lines() -> str:
    """CTEs from `living` to `line` for Customer.csv. Of a customer's changes two in ten are of the name, the others of
    the loan flag; three in ten have a loan at first."""
    return f"""
        part AS (
            SELECT
                *,
                ((h >> 33) % 10 + version * 2) // 10 AS renamed_count,
                key::VARCHAR AS id,
                {_pick(FIRST_NAMES, "hash(h, 'first')")} AS first_name,
                CASE WHEN (h >> 12) % 3 = 0
                    THEN ' ' || chr(65 + ((h >> 40) % 26)::INTEGER) || '.' ELSE '' END AS initial,
                {_pick(LAST_NAMES, "hash(h, renamed_count)")} AS last_name,
                CASE WHEN ((h >> 50) % 10 < 3)::INTEGER = (version - renamed_count) % 2 THEN 'No' ELSE 'Yes' END AS loan
            FROM living
        ),
        field AS (
            SELECT
                *,
                CASE WHEN (h >> 45) % 50 = 0 THEN '"' || last_name || ', ' || first_name || initial || '"'
                    ELSE first_name || initial || ' ' || last_name END AS name,
                id || ',' || name || ',' || loan AS clean
            FROM part
        ),
        line AS (
            SELECT CASE
                WHEN dirt IS NULL THEN clean
                WHEN dirt < 14 THEN id || ',,' || loan
                WHEN dirt < 28 THEN id || ',' || name || ',MAYBE'
                WHEN dirt < 36 THEN 'C-' || id || ',' || name || ',' || loan
                WHEN dirt < 42 THEN '0' || id || ',' || name || ',' || loan
                WHEN dirt < 54 THEN id || ',' || name || ','
                WHEN dirt < 68 THEN ' ' || id || ',  ' || first_name || '   ' || last_name || ' , ' || loan
                WHEN dirt < 80 THEN id || ',' || name || ',' || upper(loan)
                WHEN dirt < 88 THEN clean || chr(10) || clean
                WHEN dirt < 96 THEN clean || chr(10) || id || ',' || first_name || ',' || loan
                WHEN dirt < 98 AND key <= 100000 THEN clean || chr(10) || ',' || name || ',' || loan
                ELSE clean || chr(10) || id || ',' || first_name || ',' || last_name || ',' || loan
            END AS line
            FROM field
        )
    """


def _account_lines(plan: FeedPlan) -> str:
    """CTEs from `living` to `line` for accounts.csv. Of an account's changes one in twenty is a switch of the type, one
    in twenty a move to another customer, the others are of the balance; six in ten are savings accounts at first."""
    return f"""
        part AS (
            SELECT
                *,
                ((h >> 33) % 20 + version) // 20 AS switched_count,
                ((h >> 41) % 20 + version) // 20 AS moved_count,
                version::BIGINT - switched_count::BIGINT - moved_count::BIGINT AS balance_version,
                'A' || lpad(key::VARCHAR, 8, '0') AS id,
                (1 + hash(h, moved_count, 'customer') % {plan.key_count(CUSTOMER)})::VARCHAR AS customer,
                CASE WHEN ((h >> 50) % 10 < 6)::INTEGER = switched_count % 2
                    THEN 'Checking' ELSE 'Savings' END AS account_type,
                hash(h, 'balance') AS b,
                CASE
                    WHEN b % 1000 < 4 THEN [999999, 1000000, 1999999, 2000000][1 + (b % 1000)::INTEGER]
                    WHEN b % 1000 < 500 THEN (b >> 10) % 1000000
                    WHEN b % 1000 < 800 THEN 1000000 + (b >> 10) % 1000000
                    ELSE 2000000 + (b >> 10) % 23000000
                END::BIGINT AS first_cents,
                CASE WHEN balance_version = 0 THEN first_cents
                    ELSE abs(first_cents + (hash(b, balance_version) % 100001)::BIGINT - 50000) END AS cents
            FROM living
        ),
        field AS (
            SELECT
                *,
                (cents // 100)::VARCHAR AS whole,
                '.' || lpad((cents % 100)::VARCHAR, 2, '0') AS fraction,
                whole || fraction AS balance,
                id || ',' || customer || ',' AS owned,
                ',' || account_type AS typed,
                owned || balance || typed AS clean
            FROM part
        ),
        line AS (
            SELECT CASE
                WHEN dirt IS NULL THEN clean
                WHEN dirt < 8 THEN owned || 'N/A' || typed
                WHEN dirt < 16 THEN owned || 'ABC' || typed
                WHEN dirt < 24 THEN owned || '-' || balance || typed
                WHEN dirt < 32 THEN owned || typed
                WHEN dirt < 40 THEN owned || '"1,' || lpad(whole[-3:], 3, '0') || fraction || '"' || typed
                WHEN dirt < 42 THEN owned || '99999999999999999' || balance || typed
                WHEN dirt < 50 THEN id || ',,' || balance || typed
                WHEN dirt < 56 THEN id || ',C-' || customer || ',' || balance || typed
                WHEN dirt < 62 THEN id || ',99' || lpad(customer, 9, '0') || ',' || balance || typed
                WHEN dirt < 68 THEN owned || balance || ',Investment'
                WHEN dirt < 72 THEN owned || balance || ','
                WHEN dirt < 80 THEN ' ' || id || ' , ' || customer || ', ' || balance || ' , ' || account_type || ' '
                WHEN dirt < 86 THEN owned || balance || upper(typed)
                WHEN dirt < 92 THEN clean || chr(10) || clean
                WHEN dirt < 96 THEN clean || chr(10) || owned || (cents // 100 + 100) || '.00' || typed
                WHEN dirt < 98 AND key <= 100000 THEN clean || chr(10) || ',' || customer || ',' || balance || typed
                ELSE clean || chr(10) || owned || whole
            END AS line
            FROM field
        )
    """


def _pick(names: tuple[str, ...], number: str) -> str:
    """SQL that takes one of `names` by a whole number."""
    listed = ", ".join(text_literal(name) for name in names)
    return f"[{listed}][1 + ({number} % {len(names)})::INTEGER]"


@click.command(context_settings={"max_content_width": 120})
@click.option(
    "--accounts",
    type=click.IntRange(min=1),
    required=True,
    help="Accounts on the first day; customers are half as many.",
)
@click.option("--days", type=click.IntRange(min=1), default=1, show_default=True, help="Number of daily feeds.")
@click.option(
    "--change",
    type=click.FloatRange(0, 1),
    default=0.1,
    show_default=True,
    help="Share of the keys of each file that differ from one day to the next (changed, come, gone).",
)
@click.option(
    "--dirty",
    type=click.FloatRange(0, 1),
    default=0.01,
    show_default=True,
    help="Share of the rows that are untidy (spaces, case, sent twice) or break a rule (balance, type, conflict).",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Another seed gives another feed.")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder for the folders of the days."
)
@click.option(
    "--first-day",
    type=click.DateTime(["%Y-%m-%d"]),
    default="2024-01-01",
    show_default=True,
    help="Date of the first feed.",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="DuckDB's threads [default: one per core]; the bytes don't depend on it.",
)
def main(
    accounts: int,
    days: int,
    change: float,
    dirty: float,
    seed: int,
    out: Path,
    first_day: datetime,
    threads: int | None,
) -> None:
    """Write made-up daily feeds to OUT/<YYYY-MM-DD>/Customer.csv and accounts.csv.

    Every file is a full extract. The same arguments give the same bytes; a longer sequence begins with the shorter one.
    Six in ten accounts are savings accounts, half of all balances are under 10,000.00, three in ten under 20,000.00, a
    few exactly at these borders. Of what changes on a day, most is balances and loan flags; some accounts switch type
    or customer, some customers their name; one key in twenty of the changed ones leaves, one is new, and a quarter of
    those that left is back three days later. Dirt belongs to a key and stays until the key changes.

    \b
    Load the days in order:
        python -m tools.generate_feed --accounts 100000 --days 2 --out data/generated
        python -m scripts.pipeline run --inputs data/generated/2024-01-01 --as-of 2024-01-01T02:00:00
        python -m scripts.pipeline run --inputs data/generated/2024-01-02 --as-of 2024-01-02T02:00:00
    """
    plan = FeedPlan(accounts, change, dirty, seed, first_day.date())
    for path, byte_count in write_feeds(plan, days, out, threads):
        click.echo(f"{path}  {byte_count / 1e6:,.1f} MB")


if __name__ == "__main__":
    main()
