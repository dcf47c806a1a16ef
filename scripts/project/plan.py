"""`make plan`: SQLMesh's plan of this folder, in its git branch's environment, with every load that it can show."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from datetime import datetime
from uuid import uuid4

from rich.console import Console
from sqlmesh import Context
from sqlmesh.cli.main import plan as sqlmesh_plan
from sqlmesh.core.console import configure_console, get_console

from scripts import wording
from scripts.clock import end_of_window, utc_now
from scripts.ingest.load import create_landing, last_loaded_at
from scripts.project import windows
from scripts.project.prod import PROD
from scripts.project.published_schema import refuse_broken_promises
from scripts.project.rate_changes import note_rate_change
from scripts.project.restore import restore_views
from scripts.project.transform import Project, open_project
from scripts.reconcile.agreement import refuse_disagreement
from scripts.reconcile.landed_rows import reconcile
from scripts.settings import Settings
from scripts.sql import timestamp_literal
from scripts.warehouse import Warehouse


def plan(
    settings: Settings, environment: str, options: Sequence[str], console: Console, *, breaking: bool = False
) -> None:
    """Plans with SQLMesh's own command, its options and dialogue, up to the newest load that the environment can show.

    Raises:
        BlockingAuditError: Prod was planned, and does not hold what was landed.
        DeployRefusedError: Prod would lose what readers of its tables rely on, and may not (`breaking`).
        SystemExit: SQLMesh's plan failed.
    """
    started_at = utc_now()
    project = open_project(settings, console)
    context = project.context
    if environment == PROD and not breaking:
        refuse_broken_promises(context)
    _give_it_a_dialogue(context)
    with closing(project.warehouse) as warehouse:
        until = _shown_until(context, warehouse, environment, console)
        if environment == PROD:
            project.prepare()
        else:
            windows.reopen_unproven(context)
    arguments = [environment, "--run", "--ignore-cron", "--execution-time", until.isoformat(sep=" "), *options]
    sqlmesh_plan.main(arguments, prog_name="make plan", obj=context, standalone_mode=False)
    if environment == PROD:
        # SQLMesh's command has closed the project.
        with closing(open_project(settings, console)) as planned:
            _prove(planned, started_at, until)


def _prove(prod: Project, started_at: datetime, until: datetime) -> None:
    """Holds prod to what a run holds it to, where the plan was carried out."""
    proven = windows.prod_is_right_until(prod.context)
    if prod.is_planned() and proven and proven >= until:
        with closing(prod.warehouse) as warehouse:
            restore_views(prod.context, warehouse)
            # Not before: a person may say no to the plan.
            if note_rate_change(prod.context, warehouse):
                prod.run(until)
            reconcile(warehouse)
            refuse_disagreement(warehouse)
            windows.record_run(prod.context, warehouse, uuid4().hex, started_at, until)


def _give_it_a_dialogue(context: Context) -> None:
    """A run of ours prints in its own way and asks nothing."""
    configure_console()
    context.console = get_console()
    context.console.dialect = context.config.dialect  # type: ignore[attr-defined]


def _shown_until(context: Context, warehouse: Warehouse, environment: str, console: Console) -> datetime:
    """End of the window that a plan fills: prod takes in every load, a branch what the models it shares hold."""
    create_landing(warehouse)
    newest = last_loaded_at(warehouse)
    end = end_of_window(newest) if newest else utc_now()
    shared_until = windows.shared_models_are_right_until(context)
    if environment == PROD or shared_until is None:
        return max(end, shared_until) if shared_until else end
    ((waiting,),) = warehouse.fetch(
        f"SELECT COUNT(DISTINCT loaded_at) FROM landing.load WHERE loaded_at >= {timestamp_literal(shared_until)}"
    )
    if waiting:
        console.print(
            f"[yellow]Not shown: {wording.count(waiting, 'load', 'loads')} that prod's models do not hold yet. "
            "Run `python -m scripts.pipeline transform` on the production branch, then plan again.[/yellow]",
            soft_wrap=True,
        )
    return shared_until
