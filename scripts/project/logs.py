"""Log files, which plain `sqlmesh` writes: they hold errors without what these quote of the rows."""

from __future__ import annotations

import logging
import traceback
from functools import cache

from scripts.errors import causes, for_files, without_quotes


@cache
def keep_rows_out_of_logs() -> None:
    """Has every log record of this process name its errors as they may stand in a file."""
    make = logging.getLogRecordFactory()
    logging.setLogRecordFactory(lambda *args, **kwargs: _without_rows(make(*args, **kwargs)))


def _without_rows(record: logging.LogRecord) -> logging.LogRecord:
    named = [record.msg, *(record.args if isinstance(record.args, tuple) else ())]
    errors = [error for error in named if isinstance(error, BaseException)]
    if record.exc_info and record.exc_info[1]:
        errors.append(record.exc_info[1])
        record.exc_text = _traceback(record.exc_info[1])
        record.exc_info = None
    if errors:
        chain = [one for error in errors for one in (error, *causes(error))]
        record.msg, record.args = without_quotes(record.getMessage(), chain), None
    return record


def _traceback(error: BaseException) -> str:
    """Where an error came from, the first cause first, as Python tells it."""
    parts = [
        f"{''.join(traceback.format_tb(one.__traceback__))}{type(one).__name__}: {for_files(one)}"
        for one in (error, *causes(error))
    ]
    return "\n\nled to:\n\n".join(reversed(parts))
