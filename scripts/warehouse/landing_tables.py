"""The tables of the landing zone and their columns, in DuckDB's dialect."""

from __future__ import annotations

LANDING_TABLES = {
    # First: where it is, the project was there (ownership.py).
    "load": """
        loaded_at TIMESTAMP, feed VARCHAR, file_name VARCHAR, sha256 VARCHAR, byte_count BIGINT, data_line_count BIGINT,
        rows_read_count BIGINT, new_count BIGINT, changed_count BIGINT, gone_count BIGINT, unchanged_count BIGINT,
        duplicate_count BIGINT, rejected_count BIGINT, encoding VARCHAR""",
    "customer": """
        loaded_at TIMESTAMP, change_type VARCHAR, customer_key VARCHAR, rows_for_key_count BIGINT,
        customer_id VARCHAR, customer_name VARCHAR, has_loan VARCHAR""",
    "account": """
        loaded_at TIMESTAMP, change_type VARCHAR, account_key VARCHAR, rows_for_key_count BIGINT,
        account_id VARCHAR, customer_id VARCHAR, balance VARCHAR, account_type VARCHAR""",
    "reject": """
        loaded_at TIMESTAMP, feed VARCHAR, file_name VARCHAR, line_number BIGINT,
        reason VARCHAR, detail VARCHAR, raw_text VARCHAR""",
    "unseen": """
        loaded_at TIMESTAMP, feed VARCHAR, record_key VARCHAR""",
    # When prod went over to which rates of interest (scripts/project/rate_changes.py).
    "rate_change": """
        changed_at TIMESTAMP, rates VARCHAR""",
    # Which load may write, on an engine that locks nothing (scripts/warehouse/lease.py).
    "lease": """
        load_id VARCHAR, host VARCHAR, pid BIGINT, taken_at TIMESTAMP, until_at TIMESTAMP""",
    "run": """
        run_id VARCHAR, started_at TIMESTAMP, finished_at TIMESTAMP, execution_time TIMESTAMP,
        model_versions VARCHAR""",
}
