"""What goes wrong, in sentences for the person at the keyboard, and the exit code that it ends with.

A message may quote what was received, names and balances, too. The terminal shows it whole; what goes into a file goes
through `for_files`, which leaves the quotes out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

import duckdb

# An error class of Spark, Delta or Databricks, with the first sentence behind it. Both may stand behind the name of a
# Java exception, which may itself stand behind the class.
_ERROR_CLASS = re.compile(
    r"(?:^|: ?)(?P<name>\[[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+(?:\.[A-Z0-9_]+)*\]) (?:[\w.$]+: (?P=name) )?"
    r"(?P<sentence>.+?)(?=\s+SQLSTATE:|(?<=[.!?])\s|$)",
    re.MULTILINE,
)
_PY4J = re.compile(r"An error occurred while calling \S+\s*: ")
_STACK_FRAME = "\n\tat "
# What SQLMesh puts into a message for a terminal, and the whole of a model before what is wrong with it.
_UNDERLINE = re.compile(r"\x1b\[\d*m")
_WHOLE_MODEL = re.compile(r"(Failed to resolve macros) for\s*\n\s*\n.+?\n\s*\n\s*", re.DOTALL)

_LEFT_OUT = "[left out: it may quote rows]"
# Raised before a row is read: they know names of tables, columns and files only.
_KNOWS_NO_ROWS = (
    OSError,
    duckdb.BinderException,
    duckdb.CatalogException,
    duckdb.ConnectionException,
    duckdb.IOException,
    duckdb.OutOfMemoryException,
    duckdb.ParserException,
    duckdb.PermissionException,
    duckdb.SyntaxException,
    duckdb.TransactionException,
)
# The same of Spark: the class of "syntax error or access rule violation".
_ABOUT_SQL = "SQLSTATE: 42"
_FRAMEWORK = ("sqlmesh", "sqlglot")


EXIT_CODES = {
    1: "a step failed, or something asks to be mended",
    2: "wrong usage",
    3: "the feed was refused, nothing was written",
    4: "a setting is wrong, or a deploy was refused; nothing was written",
    5: "a model or a blocking audit failed; the message says which tables already have the new load, exports and "
    "published tables are as they were",
}


class PipelineError(Exception):
    """A step failed: the message says what, where, and what to do.

    Attributes:
        what: The message without its remedy.
        remedy: What to do, where that is told apart.
        quotes: Parts of the message that may hold rows: text of a feed, and errors whose words it repeats. What the
            error that caused this one says is known to be among them.
    """

    exit_code = 1

    def __init__(self, what: str, remedy: str = "", *, quotes: Sequence[str | BaseException] = ()) -> None:
        super().__init__(f"{what} {remedy}" if remedy else what)
        self.what, self.remedy, self.quotes = what, remedy, quotes


class DatabaseInUseError(PipelineError):
    """Another process has the database open."""


class WrongUsageError(PipelineError):
    """The command line asks for what is not there."""

    exit_code = 2


class FeedRefusedError(PipelineError):
    """The feed breaks its contract; nothing was written."""

    exit_code = 3


class SettingsError(PipelineError):
    """A setting is missing, contradictory or of the wrong form."""

    exit_code = 4


class ForeignObjectsError(PipelineError):
    """Tables that are not this project's stand where it would write; nothing was written."""

    exit_code = 4


class DeployRefusedError(PipelineError):
    """The deploy was refused; nothing was written."""

    exit_code = 4


class BlockingAuditError(PipelineError):
    """A blocking audit or a model failed; what reads it, exports and published tables are as they were."""

    exit_code = 5


def reason(error: BaseException | str) -> str:
    """What an error says: of a warehouse's its error class and first sentence, of others all but a stack trace and the
    text of a whole model."""
    said = _WHOLE_MODEL.sub(r"\1: ", _UNDERLINE.sub("", str(error).strip())) or type(error).__name__
    if found := _ERROR_CLASS.search(said):
        return f"{found['name']} {found['sentence']}"
    return _PY4J.sub("", said).partition(_STACK_FRAME)[0]


def first_line(error: BaseException) -> str:
    """The first line of what an error says."""
    return reason(error).splitlines()[0]


def for_files(error: BaseException) -> str:
    """What an error says without what it may quote of the rows: the only form of it that may stand in a file."""
    if isinstance(error, PipelineError):
        return without_quotes(str(error), [*error.quotes, *causes(error)])
    for inner in causes(error):
        return for_files(inner)
    found = _ERROR_CLASS.search(str(error))
    about_sql = found and _ABOUT_SQL in str(error)
    of_framework = type(error).__module__.startswith(_FRAMEWORK)
    if isinstance(error, _KNOWS_NO_ROWS) or of_framework or about_sql or not str(error).strip():
        return reason(error)
    return f"{found['name'] if found else type(error).__name__} {_LEFT_OUT}"


def without_quotes(text: str, quotes: Iterable[str | BaseException]) -> str:
    """A text without these parts of it, and with what it repeats of these errors as it may stand in a file."""
    written: dict[str, str] = {}
    for quote in quotes:
        if isinstance(quote, str):
            written[quote] = _LEFT_OUT
        else:
            written |= dict.fromkeys((str(quote), reason(quote), first_line(quote)), for_files(quote))
    for said in sorted(filter(None, written), key=len, reverse=True):
        if said not in written[said]:
            text = text.replace(said, written[said])
    return text


def causes(error: BaseException) -> Iterator[BaseException]:
    """The error that led to this one, the one that led to that, and so on."""
    while inner := error.__cause__ or error.__context__:
        yield inner
        error = inner
