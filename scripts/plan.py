"""`make plan`: SQLMesh's plan of this folder, in its git branch's environment, with every load that it can show."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Collection, Sequence
from datetime import datetime

from rich.console import Console
from sqlmesh import Context
from sqlmesh.cli.main import plan as sqlmesh_plan
from sqlmesh.core.console import configure_console, get_console

from scripts import windows
from scripts.clock import end_of_window, timestamp_literal, utc_now
from scripts.errors import SettingsError
from scripts.ingest.load import last_loaded_at
from scripts.settings import PROJECT_ROOT, Settings
from scripts.transform import open_project
from scripts.warehouse import Warehouse
from scripts.windows import PROD

PRODUCTION_BRANCHES = ("main", "master")


def environment_of(branch: str, others: Collection[str] = ()) -> str:
    """The environment of a git branch: `prod` for the production branch, else its name in SQLMesh's letters.

    Args:
        branch: Its name; empty where HEAD is on none.
        others: All branches.

    Raises:
        SettingsError: The name belongs to prod or to another branch's environment, too, or HEAD is on no branch.
    """
    if branch in PRODUCTION_BRANCHES:
        return PROD
    if not branch:
        raise SettingsError(
            "HEAD is on no branch, so there is no environment to plan. Switch to a branch (`git switch -c NAME`), or "
            "name the environment yourself: `sqlmesh plan NAME`."
        )
    name = _environment_name(branch)
    if name == PROD:
        raise SettingsError(f"The branch {branch} would be planned as {PROD}. Rename it: `git branch -m NAME`.")
    twins = sorted(other for other in others if other != branch and _environment_name(other) == name)
    if twins:
        raise SettingsError(
            f"The branches {branch} and {', '.join(twins)} would share the environment {name}. Rename one of them "
            "(`git branch -m NAME`), or name the environment yourself: `sqlmesh plan NAME`."
        )
    return name


def this_environment() -> str:
    """The environment of this folder's branch; `prod` where the folder is no git checkout.

    Raises:
        SettingsError: The branch has none.
    """
    try:
        branch = _git("symbolic-ref", "--quiet", "--short", "HEAD")
        return environment_of(branch, _git("branch", "--format=%(refname:short)").splitlines())
    except OSError:
        return PROD
    except subprocess.CalledProcessError:
        return environment_of("") if _is_checkout() else PROD


def plan(settings: Settings, environment: str, options: Sequence[str], console: Console) -> None:
    """Plans with SQLMesh's own command and dialogue, up to the newest load that the environment can show.

    Args:
        options: Those of `sqlmesh plan`.

    Raises:
        SystemExit: SQLMesh's plan failed.
    """
    project = open_project(settings, console)
    context, warehouse = project.context, project.warehouse
    _give_it_a_dialogue(context)
    until = _shown_until(context, warehouse, environment, console)
    windows.reopen_unproven(context)
    arguments = [environment, "--run", "--ignore-cron", "--execution-time", until.isoformat(sep=" "), *options]
    sqlmesh_plan.main(arguments, prog_name="make plan", obj=context, standalone_mode=False)


def _give_it_a_dialogue(context: Context) -> None:
    """A run of ours prints in its own way and asks nothing."""
    configure_console()
    context.console = get_console()
    context.console.dialect = context.config.dialect  # type: ignore[attr-defined]


def _shown_until(context: Context, warehouse: Warehouse, environment: str, console: Console) -> datetime:
    """End of the window that a plan fills: prod takes in every load, a branch what the models it shares hold."""
    newest = last_loaded_at(warehouse)
    end = end_of_window(newest) if newest else utc_now()
    shared_until = windows.prod_is_right_until(context)
    if environment == PROD or shared_until is None:
        return max(end, shared_until) if shared_until else end
    ((waiting,),) = warehouse.fetch(
        f"SELECT COUNT(DISTINCT loaded_at) FROM landing.load WHERE loaded_at >= {timestamp_literal(shared_until)}"
    )
    if waiting:
        console.print(
            f"[yellow]Not shown: {waiting} load(s) that prod's models do not hold yet. "
            "Run `python -m scripts.pipeline transform` on the production branch, then plan again.[/yellow]",
            soft_wrap=True,
        )
    return shared_until


def _environment_name(branch: str) -> str:
    return re.sub("[^a-z0-9_]", "_", branch.lower())


def _is_checkout() -> bool:
    try:
        return _git("rev-parse", "--is-inside-work-tree") == "true"
    except subprocess.CalledProcessError:
        return False


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(PROJECT_ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
