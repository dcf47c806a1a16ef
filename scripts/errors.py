"""What goes wrong, in sentences for the person at the keyboard, and the exit code that it ends with."""

from __future__ import annotations

import re

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


class PipelineError(Exception):
    """A step failed: the message says what, where, and what to do.

    Attributes:
        what: The message without its remedy.
        remedy: What to do, where that is told apart.
    """

    exit_code = 1

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(f"{what} {remedy}" if remedy else what)
        self.what, self.remedy = what, remedy


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
    """A blocking audit or a model failed; what stands after it is as it was before the run."""

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
