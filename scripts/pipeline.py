"""The whole job and its steps, at the command line: `python -m scripts.pipeline run`."""

from __future__ import annotations

import atexit
import gc
import sys
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import click
import duckdb
from rich.markup import escape

from scripts.errors import EXIT_CODES, PipelineError, first_line
from scripts.job import console, job, warn_of_others_tables
from scripts.report.console import print_report
from scripts.report.quality_report import latest_report
from scripts.settings import PROJECT_ROOT, Allowed, load_report_settings, load_settings

Command = Callable[..., None]


def utc_time(text: str) -> datetime:
    """An ISO 8601 time; without a zone it is UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"'{text}' is no ISO 8601 time such as 2024-01-15T02:00:00 (UTC).") from None
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


def flag(name: str, text: str) -> Callable[[Command], Command]:
    return click.option(name, is_flag=True, help=text)


as_of_option = click.option(
    "--as-of", metavar="TIME", type=utc_time, help="Date the load so, e.g. 2024-01-15T02:00:00 (UTC)."
)
inputs_option = click.option("--inputs", metavar="DIR", help="Folder of the feeds' files.")
full_refresh_option = flag(
    "--full-refresh", "Rebuild every model from the landing zone; the history comes out the same."
)
deploy_option = flag("--deploy", "Bring prod to the models of this folder also from another branch than PROD_BRANCH.")
breaking_option = flag("--breaking", "Deploy also what takes a column, or values of its type, from snapshots or marts.")
anyway_option = flag("--anyway", "Take the marts as they stand, also where the newest load's audits have not passed.")
replace_option = flag("--replace", "Publish over tables of the marts' names that this pipeline did not make.")
# By the fields of `Allowed`.
_ALLOWED = {
    "removals": "Take a feed that lacks more of the known keys than MAX_REMOVED_SHARE.",
    "quarantine": "Take a load that keeps more than MAX_QUARANTINED_SHARE out of the marts.",
    "shift": "Take a feed with a column emptied by more than MAX_COLUMN_SHIFT.",
}


def allow_options(command: Command) -> Command:
    """The options that turn a guard off for one run, as the fields of `Allowed`."""
    for field, text in reversed(_ALLOWED.items()):
        command = click.option(f"--allow-{field}", field, is_flag=True, help=text)(command)
    return command


class Steps(click.Group):
    """Ends a command with the sentence and the exit code of the error that stopped it."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except duckdb.CatalogException as error:
            remedy = "What prod lacks is made again by `python -m scripts.pipeline transform`."
            stopped = PipelineError(first_line(error), remedy)
        except PipelineError as error:
            stopped = error
        console.print(f"\n[bold red]Stopped.[/bold red] {escape(str(stopped))}", soft_wrap=True)
        sys.exit(stopped.exit_code)


@click.group(cls=Steps, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def cli() -> None:
    """CSV extracts of customers and accounts in; audited interest and balance marts, exports and a report out.

    \b
    Exit codes: 0 done · 1 a step failed · 2 wrong usage · 3 the feed was refused, nothing written ·
    4 a setting is wrong, or a deploy was refused and nothing written ·
    5 a model or a blocking audit failed: the message says which tables already have the new load; exports
    and published tables are as they were.
    Settings come from the environment or .env (see .env.example).
    """


@cli.command()
@as_of_option
@inputs_option
@allow_options
@full_refresh_option
@deploy_option
@breaking_option
@replace_option
def run(
    as_of: datetime | None,
    inputs: str | None,
    full_refresh: bool,
    deploy: bool,
    breaking: bool,
    replace: bool,
    **allowed: bool,
) -> None:
    """The whole job: ingest, models, exports, quality report."""
    with job(inputs) as current:
        publishes = current.settings.gateway == "databricks"
        current.project.check_deploy(deploy, breaking)
        if publishes:
            current.check_publish_target(replace)
        current.ingest(as_of, Allowed(**allowed))
        current.transform(as_of, full_refresh)
        current.export()
        if publishes:
            current.publish(replace)


@cli.command()
@as_of_option
@inputs_option
@allow_options
def ingest(as_of: datetime | None, inputs: str | None, **allowed: bool) -> None:
    """Take the feeds into the landing zone; `transform` or `sqlmesh run` brings them to the marts."""
    with job(inputs, reports=False) as current:
        current.ingest(as_of, Allowed(**allowed))


@cli.command()
@as_of_option
@full_refresh_option
@deploy_option
@breaking_option
def transform(as_of: datetime | None, full_refresh: bool, deploy: bool, breaking: bool) -> None:
    """Plan what changed in the project and run the models for what was loaded."""
    with job() as current:
        current.project.check_deploy(deploy, breaking)
        current.transform(as_of, full_refresh)


@cli.command(context_settings={"ignore_unknown_options": True})
@breaking_option
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def plan(breaking: bool, options: tuple[str, ...]) -> None:
    """Plan this folder in the environment of its git branch, up to the newest load; OPTIONS as of `sqlmesh plan`."""
    from scripts.project.branch import environment_of_folder
    from scripts.project.plan import plan as plan_environment

    settings = load_settings()
    environment = environment_of_folder(PROJECT_ROOT, settings.production_branches)
    console.print(f"Environment: {environment}")
    warn_of_others_tables(settings, environment)
    plan_environment(settings, environment, options, console, breaking=breaking)


@cli.command()
@anyway_option
def export(anyway: bool) -> None:
    """Write the marts as they stand to OUTPUT_PATH as CSV and Parquet, with a manifest."""
    with job(reports=False) as current:
        if not anyway:
            current.refuse_unproven()
        current.export()


@cli.command()
@replace_option
@anyway_option
def publish(replace: bool, anyway: bool) -> None:
    """Put the marts on Databricks as <DATABRICKS_CATALOG>.<DATABRICKS_SCHEMA>.account_summary and so on."""
    with job(reports=False) as current:
        if not anyway:
            current.refuse_unproven()
        current.publish(replace)


@cli.command()
def check() -> None:
    """Try, step by step, what a run needs of its gateway, and say which step fails and what to do."""
    from scripts.operate.check import print_check

    sys.exit(print_check(load_settings(), console))


@cli.command()
@click.option("--latest", is_flag=True, help="Print the newest report; nothing is audited.")
@click.option("--full", is_flag=True, help="Audit all rows of all time, not only those of the newest load's hour.")
def report(latest: bool, full: bool) -> None:
    """Audit the models as they stand and write a quality report."""
    if latest:
        print_report(latest_report(load_report_settings().folder), console)
        return
    with job() as current:
        current.audit(full)


@cli.command()
@click.option("--model", "models", multiple=True, metavar="LAYER.NAME", help="Only this model; may be repeated.")
@click.option("--audit", "audits", multiple=True, metavar="NAME", help="Only audits of this kind; may be repeated.")
def audit(models: tuple[str, ...], audits: tuple[str, ...]) -> None:
    """Audit all rows of all time as they stand; nothing is written, no report either."""
    with job(reports=False) as current:
        current.audit(full=True, models=models, audits=audits)


@cli.command()
def status() -> None:
    """Show what is loaded, pending and in quarantine, where things are, and what to do where something is wrong."""
    from scripts.operate.status import print_status

    if not print_status(load_settings(), console):
        sys.exit(1)


def main() -> None:
    """The command line in a process of its own; where it fails, its last line names the exit code."""
    # SQLMesh holds millions of small objects. To look through them again and again, and once more at the end, takes a
    # quarter of a small run.
    gc.set_threshold(50_000)
    atexit.register(gc.freeze)
    code: Any = 1
    try:
        cli()
    except SystemExit as ended:
        code = ended.code
    except Exception:
        traceback.print_exc()
    if meaning := EXIT_CODES.get(code):
        console.print(f"Exit code {code}: {meaning}.", soft_wrap=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
