"""What goes wrong, in sentences for the person at the keyboard, and the exit code that it ends with."""

from __future__ import annotations


class PipelineError(Exception):
    """A step failed: the message says what, where, and what to do."""

    exit_code = 1


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
