"""The rounds: every contestant takes every load, by turns, and has to come to the same marts as the first one."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.agreement import first_difference
from benchmarks.contestants import Contestant, database_bytes, outputs_of
from benchmarks.loads import Load
from benchmarks.process import Usage, run_measured
from scripts.errors import PipelineError


@dataclass(frozen=True)
class Measurement:
    """What one load took one contestant in one round (from 1); `step_seconds` where it tells them."""

    accounts: int
    contestant: str
    load: str
    round: int
    usage: Usage
    database_bytes: int
    step_seconds: dict[str, float] = field(default_factory=dict)


def race(
    accounts: int,
    contestants: Sequence[Contestant],
    loads: Sequence[Load],
    rounds: int,
    scratch: Path,
    say: Callable[[str], None],
) -> list[Measurement]:
    """Measures all contestants with all loads, `rounds` times from nothing; the order of turns moves on by one a round.

    Args:
        accounts: Size of the feeds, for the record.
        contestants: The first one's marts are what the others' are compared with.
        loads: In the order in which they are taken.
        rounds: At least 1.
        scratch: Folder for a folder per contestant.
        say: Told what is measured next.

    Raises:
        PipelineError: A contestant failed, or its marts differ from those of the first.
    """
    folders = {contestant.name: scratch / contestant.name.replace(" ", "_") for contestant in contestants}
    measurements = []
    for number in range(1, rounds + 1):
        for contestant in contestants:
            _start_over(contestant, folders[contestant.name])
        turn = (number - 1) % len(contestants)
        for load in loads:
            for contestant in (*contestants[turn:], *contestants[:turn]):
                say(f"{accounts:,} accounts, round {number} of {rounds}, {load.name}: {contestant.name}")
                measurements.append(measure(accounts, contestant, load, number, folders[contestant.name]))
            _refuse_other_marts(contestants, load, folders)
    return measurements


def measure(accounts: int, contestant: Contestant, load: Load, number: int, folder: Path) -> Measurement:
    """Takes one load.

    Raises:
        PipelineError: It failed; the message names contestant and load.
    """
    log = folder / "runs" / f"{load.as_of:%Y-%m-%d}.log"
    try:
        usage = run_measured(contestant.command(load, folder), log)
    except PipelineError as error:
        raise PipelineError(f"{contestant.name} failed, {load.name}. {error}") from error
    steps = contestant.step_seconds(folder)
    return Measurement(accounts, contestant.name, load.name, number, usage, database_bytes(folder), steps)


def _start_over(contestant: Contestant, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    outputs_of(folder).mkdir(parents=True)
    contestant.prepare(folder)


def _refuse_other_marts(contestants: Sequence[Contestant], load: Load, folders: dict[str, Path]) -> None:
    leader, *others = contestants
    for other in others:
        expected, actual = (outputs_of(folders[one.name]) for one in (leader, other))
        difference = first_difference(expected, actual, with_dates=leader.dates_rows and other.dates_rows)
        if difference:
            raise PipelineError(
                f"{other.name} came to other marts than {leader.name}, {load.name}. {difference}\n"
                "What takes a load to another result is not comparable: nothing was recorded."
            )
