"""The contestant `floor`: what the marts cost in plain DuckDB, with no history, audits, rejects or restart.

`first` types and cleans both files by the same rules, joins, computes both marts and writes the four exports. `change`
reads both files, finds what differs from the tables of the load before, updates the marts and writes the exports. What
DuckDB can't read as a record it skips, and nobody is told.
"""

from __future__ import annotations

import sys
from pathlib import Path

import duckdb

# Unicode's White_Space property.
WHITE_SPACE = "\t\n\v\f\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"
ACCOUNT_COLUMNS = ("account_id", "customer_id", "balance", "account_type")
CUSTOMER_COLUMNS = ("customer_id", "customer_name", "has_loan")
ABSENT_WORDS = "('', 'null', 'n/a', 'none')"

JUDGED_ACCOUNT = f"""
    CREATE TEMP TABLE judged_account AS
    WITH typed AS (
        SELECT
            account_id,
            has_conflict,
            CASE WHEN regexp_full_match(customer_id, '[1-9][0-9]{{0,17}}') THEN customer_id::BIGINT END AS customer_id,
            CASE WHEN regexp_full_match(balance, '[+]?[0-9]+([.][0-9]+)?|-0+([.]0+)?')
                THEN TRY_CAST(balance AS DECIMAL(18, 2)) END AS balance_amount,
            CASE WHEN lower(account_type) IN ('savings', 'checking') THEN lower(account_type) END AS account_type
        FROM received_account
    )
    SELECT
        account_id,
        customer_id,
        balance_amount,
        account_type,
        NOT has_conflict
            AND customer_id IS NOT NULL AND balance_amount IS NOT NULL AND account_type IS NOT NULL AS is_valid
    FROM typed
    WHERE lower(account_id) NOT IN {ABSENT_WORDS}
        AND NOT (regexp_matches(account_id, '[^ -~]') AND regexp_matches(account_id, '[\\p{{C}}\\p{{Zl}}\\p{{Zp}}]'))
"""

JUDGED_CUSTOMER = f"""
    CREATE TEMP TABLE judged_customer AS
    WITH typed AS (
        SELECT
            customer_id::BIGINT AS customer_id,
            has_conflict,
            CASE WHEN lower(customer_name) IN {ABSENT_WORDS} THEN NULL
                WHEN regexp_matches(customer_name, '  |[^ -~]')
                THEN regexp_replace(customer_name, $white_space_run, ' ', 'g')
                ELSE customer_name END AS customer_name,
            CASE WHEN lower(has_loan) IN ('yes', 'y', 'true', '1') THEN TRUE
                WHEN lower(has_loan) IN ('no', 'n', 'false', '0') OR lower(has_loan) IN {ABSENT_WORDS} THEN FALSE
                END AS has_loan_flag
        FROM received_customer
        WHERE regexp_full_match(customer_id, '[1-9][0-9]{{0,17}}')
    )
    SELECT
        customer_id,
        customer_name,
        has_loan_flag,
        NOT has_conflict AND customer_name IS NOT NULL AND has_loan_flag IS NOT NULL AS is_valid
    FROM typed
"""

TABLES = """
    CREATE TABLE account (account_id VARCHAR, customer_id BIGINT, balance_amount DECIMAL(18, 2), account_type VARCHAR);
    CREATE TABLE customer (customer_id BIGINT, customer_name VARCHAR, has_loan_flag BOOLEAN);
    CREATE TABLE interest_rate_tier AS
        SELECT *, lead(balance_from_amount) OVER (ORDER BY balance_from_amount) AS balance_below_amount
        FROM read_csv(
            'seeds/interest_rate_tier.csv',
            columns = {
                'balance_from_amount': 'DECIMAL(18, 2)',
                'interest_rate_pct': 'DECIMAL(6, 4)',
                'loan_bonus_pct': 'DECIMAL(6, 4)'
            }
        );
    CREATE TABLE account_summary (
        account_id VARCHAR, customer_id BIGINT, original_balance_amount DECIMAL(18, 2), interest_rate_pct DECIMAL(6, 4),
        annual_interest_amount DECIMAL(18, 2), new_balance_amount DECIMAL(19, 2), calculated_at TIMESTAMP
    );
    CREATE TABLE customer_profile (
        customer_id BIGINT, customer_name VARCHAR, has_loan_flag BOOLEAN, total_accounts_count BIGINT,
        total_balance_amount DECIMAL(28, 2), total_annual_interest_amount DECIMAL(28, 2), calculated_at TIMESTAMP
    );
"""

ACCOUNT_SUMMARY = """
    INSERT INTO account_summary
    WITH rated AS (
        SELECT
            account.*,
            (tier.interest_rate_pct + CASE WHEN customer.has_loan_flag THEN tier.loan_bonus_pct ELSE 0 END)
                ::DECIMAL(6, 4) AS rate_pct
        FROM {accounts} AS account
        JOIN customer USING (customer_id)
        JOIN interest_rate_tier AS tier
            ON account.balance_amount >= tier.balance_from_amount
            AND (tier.balance_below_amount IS NULL OR account.balance_amount < tier.balance_below_amount)
        WHERE account.account_type = 'savings'
    ), earning AS (
        SELECT *, round(balance_amount::DECIMAL(28, 2) * rate_pct, 2)::DECIMAL(18, 2) AS interest_amount FROM rated
    )
    SELECT
        account_id, customer_id, balance_amount, rate_pct, interest_amount, balance_amount + interest_amount,
        $loaded_at::TIMESTAMP
    FROM earning
"""

CUSTOMER_PROFILE = """
    INSERT INTO customer_profile
    WITH holding AS (
        SELECT
            customer_id,
            count(*) AS accounts_count,
            sum(original_balance_amount) AS balance_amount,
            sum(annual_interest_amount) AS interest_amount
        FROM {accounts} AS account
        GROUP BY customer_id
    )
    SELECT
        customer_id, customer_name, has_loan_flag, accounts_count, balance_amount, interest_amount,
        $loaded_at::TIMESTAMP
    FROM holding
    JOIN customer USING (customer_id)
"""

# A row that breaks a rule is no change: its key keeps what was valid before.
CHANGES = """
    CREATE TEMP TABLE changed_account AS
    SELECT
        account_id,
        now.customer_id,
        now.balance_amount,
        now.account_type,
        before.customer_id AS previous_customer_id,
        coalesce(now.account_type = 'savings', FALSE) OR coalesce(before.account_type = 'savings', FALSE) AS is_savings
    FROM judged_account AS now
    FULL JOIN account AS before USING (account_id)
    WHERE now.is_valid IS NULL OR (now.is_valid AND (
        now.customer_id IS DISTINCT FROM before.customer_id
        OR now.balance_amount IS DISTINCT FROM before.balance_amount
        OR now.account_type IS DISTINCT FROM before.account_type
    ));
    CREATE TEMP TABLE changed_customer AS
    SELECT customer_id, now.customer_name, now.has_loan_flag
    FROM judged_customer AS now
    FULL JOIN customer AS before USING (customer_id)
    WHERE now.is_valid IS NULL OR (now.is_valid AND (
        now.customer_name IS DISTINCT FROM before.customer_name
        OR now.has_loan_flag IS DISTINCT FROM before.has_loan_flag
    ));
    DELETE FROM account WHERE account_id IN (SELECT account_id FROM changed_account);
    INSERT INTO account
        SELECT account_id, customer_id, balance_amount, account_type FROM changed_account WHERE customer_id IS NOT NULL;
    DELETE FROM customer WHERE customer_id IN (SELECT customer_id FROM changed_customer);
    INSERT INTO customer SELECT * FROM changed_customer WHERE customer_name IS NOT NULL;
    CREATE TEMP TABLE touched_account AS
        SELECT account_id FROM changed_account
        UNION
        SELECT account_id FROM account SEMI JOIN changed_customer USING (customer_id);
    CREATE TEMP TABLE touched_customer AS
        SELECT customer_id FROM changed_customer
        UNION
        SELECT unnest([customer_id, previous_customer_id]) FROM changed_account WHERE is_savings;
    DELETE FROM account_summary WHERE account_id IN (SELECT account_id FROM touched_account);
    DELETE FROM customer_profile WHERE customer_id IN (SELECT customer_id FROM touched_customer);
"""


def load_first(connection: duckdb.DuckDBPyConnection, inputs: Path, loaded_at: str) -> None:
    """Fills a new database from the two files of a folder; `loaded_at` is the ISO 8601 time of the load."""
    connection.execute(TABLES)
    judge(connection, inputs)
    connection.execute("INSERT INTO account SELECT * EXCLUDE (is_valid) FROM judged_account WHERE is_valid")
    connection.execute("INSERT INTO customer SELECT * EXCLUDE (is_valid) FROM judged_customer WHERE is_valid")
    time = {"loaded_at": loaded_at}
    connection.execute(ACCOUNT_SUMMARY.format(accounts="account"), time)
    connection.execute(CUSTOMER_PROFILE.format(accounts="account_summary"), time)


def load_change(connection: duckdb.DuckDBPyConnection, inputs: Path, loaded_at: str) -> None:
    """Brings the tables of the load before to the two files of a folder, row by row that differs."""
    judge(connection, inputs)
    connection.execute(CHANGES)
    time = {"loaded_at": loaded_at}
    touched_accounts = "(SELECT * FROM account SEMI JOIN touched_account USING (account_id))"
    connection.execute(ACCOUNT_SUMMARY.format(accounts=touched_accounts), time)
    touched_holdings = "(SELECT * FROM account_summary SEMI JOIN touched_customer USING (customer_id))"
    connection.execute(CUSTOMER_PROFILE.format(accounts=touched_holdings), time)


def judge(connection: duckdb.DuckDBPyConnection, inputs: Path) -> None:
    """Makes judged_account and judged_customer: a row per key of the file, typed, with `is_valid`."""
    receive(connection, inputs / "accounts.csv", "received_account", ACCOUNT_COLUMNS)
    receive(connection, inputs / "Customer.csv", "received_customer", CUSTOMER_COLUMNS)
    connection.execute(JUDGED_ACCOUNT)
    connection.execute(JUDGED_CUSTOMER, {"white_space_run": f"[{WHITE_SPACE}]+"})


def receive(connection: duckdb.DuckDBPyConnection, path: Path, table: str, columns: tuple[str, ...]) -> None:
    """Makes a table of a file: a row per key, texts trimmed; rows that differ in one key are a conflict."""
    key, *others = columns
    row_hash = f"hash({', '.join(columns)})"
    connection.execute(
        f"""
        CREATE TEMP TABLE {table} AS
        SELECT
            {trimmed(key)} AS {key},
            {", ".join(f"first({trimmed(column)}) AS {column}" for column in others)},
            min({row_hash}) <> max({row_hash}) AS has_conflict
        FROM read_csv(
            $path,
            columns = {{{", ".join(f"'{column}': 'VARCHAR'" for column in columns)}}},
            force_not_null = [{", ".join(f"'{column}'" for column in columns)}],
            auto_detect = false, header = true, delim = ',', quote = '"', escape = '"', ignore_errors = true
        )
        GROUP BY ALL
        """,
        {"path": str(path)},
    )


def trimmed(column: str) -> str:
    """SQL for a text without white space around it; only what has some is trimmed, for that is slow."""
    has_some = f"regexp_matches({column}, '^[{WHITE_SPACE}]|[{WHITE_SPACE}]$')"
    return f"CASE WHEN {has_some} THEN trim({column}, '{WHITE_SPACE}') ELSE {column} END"


def export(connection: duckdb.DuckDBPyConnection, outputs: Path) -> None:
    """Writes both marts as CSV and Parquet, in the order of their keys."""
    for mart, key in (("account_summary", "account_id"), ("customer_profile", "customer_id")):
        rows = f"(FROM {mart} ORDER BY {key})"
        connection.execute(f"COPY {rows} TO '{outputs / mart}.parquet' (FORMAT parquet, COMPRESSION zstd)")
        connection.execute(f"COPY {rows} TO '{outputs / mart}.csv' (FORMAT csv, HEADER true)")


def main(mode: str, database: str, inputs: str, loaded_at: str, outputs: str) -> None:
    """One load: `mode` is first or change, all others but the time are paths."""
    load = {"first": load_first, "change": load_change}[mode]
    with duckdb.connect(database) as connection:
        connection.begin()
        load(connection, Path(inputs), loaded_at)
        connection.commit()
        export(connection, Path(outputs))


if __name__ == "__main__":
    main(*sys.argv[1:])
