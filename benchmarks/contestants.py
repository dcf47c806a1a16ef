"""Who is measured: each brings a load to tables and four files of its own, by one command.

A contestant has a folder: `tables.duckdb` is its database, `outputs` has its files, named as the project's exports.

- `ours`: the project's own command, `python -m scripts.pipeline run`.
- `floor`: plain DuckDB without history, audits and rejects (`benchmarks/floor.py`). Its first load computes everything,
  the later ones find what differs and update the marts: the floor of a change.
- `dbt`: dbt-core with dbt-duckdb (`benchmarks/dbt_project`): five layers, snapshots with the check strategy, as many
  tests, the same rules and exports; everything dated by the load.
- `sqlmesh as it comes`: a copy of the project in which SQLMesh keeps history by its own SCD_TYPE_2_BY_TIME
  (`benchmarks/as_it_comes`). By column SQLMesh dates changes by the run, so a change would lie after the window that is
  to take it to the marts; and by time removals are versions, for a removal of its own making is dated so, too. Its
  marts must hold the same figures, but not the same `calculated_at`: it takes every row that was received anew for a
  change, also where only what cleaning takes away is another.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.loads import Load
from benchmarks.process import Command
from scripts.errors import PipelineError
from scripts.settings import PROJECT_ROOT

BENCHMARKS = PROJECT_ROOT / "benchmarks"
DBT = PROJECT_ROOT / ".venv-dbt" / "bin" / "dbt"
DBT_PROJECT = BENCHMARKS / "dbt_project"
AS_IT_COMES = BENCHMARKS / "as_it_comes"
# What of the project makes a copy of it run.
PRODUCT = (
    "config.py", "external_models.yaml", "audits", "feeds", "linter", "macros", "materializations", "models",
    "scripts", "seeds", "tests/models",
)  # fmt: skip


@dataclass(frozen=True)
class Contestant:
    """One way to bring loads to the marts.

    Attributes:
        command: What takes a load, given the contestant's folder.
        dates_rows: Whether its `calculated_at` is the project's.
        prepare: Called with a new folder before the first load.
        step_seconds: Seconds of the newest load by step, where the contestant tells them.
    """

    name: str
    command: Callable[[Load, Path], Command]
    dates_rows: bool = True
    prepare: Callable[[Path], None] = lambda folder: None
    step_seconds: Callable[[Path], dict[str, float]] = lambda folder: {}


def database_of(folder: Path) -> Path:
    """The database in a contestant's folder."""
    return folder / "tables.duckdb"


def outputs_of(folder: Path) -> Path:
    """The folder of the files in a contestant's folder."""
    return folder / "outputs"


def database_bytes(folder: Path) -> int:
    """Size of a contestant's database and of what belongs to it (its write-ahead log)."""
    return sum(path.stat().st_size for path in folder.glob(f"{database_of(folder).name}*") if path.is_file())


def project_of(folder: Path) -> Path:
    """The copy of the project in a contestant's folder."""
    return folder / "project"


def pipeline_command(load: Load, folder: Path) -> Command:
    """The whole job, by the copy of the project in `folder`, with tables and files there."""
    arguments = [sys.executable, "-m", "scripts.pipeline", "run"]
    arguments += ["--inputs", str(load.inputs), "--as-of", load.as_of.isoformat()]
    settings = {
        "DATABASE_TYPE": "duckdb",
        "DUCKDB_PATH": str(database_of(folder)),
        "OUTPUT_PATH": str(outputs_of(folder)),
        "QUALITY_REPORTS_PATH": str(folder / "quality_reports"),
        # SQLMesh's state belongs beside these tables, wherever the project's own is kept.
        "STATE_HOST": "",
    }
    return Command(arguments, project_of(folder), settings)


def pipeline_step_seconds(folder: Path) -> dict[str, float]:
    """Seconds per step, from the newest quality report.

    Raises:
        PipelineError: There is no report.
    """
    newest = max((folder / "quality_reports").glob("quality_report_*.json"), default=None)
    if newest is None:
        raise PipelineError(f"The run left no quality report in {folder}.")
    steps: dict[str, float] = json.loads(newest.read_text(encoding="utf-8"))["step_seconds"]
    return steps


def copy_project(folder: Path) -> None:
    """Makes the copy of the project that a contestant runs: in a new one nothing is cached yet, as with the others."""
    for name in PRODUCT:
        source, target = PROJECT_ROOT / name, project_of(folder) / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copy2(source, target)


def copy_with_sqlmeshs_own_history(folder: Path) -> None:
    """Makes the copy of the project that `sqlmesh as it comes` runs."""
    copy_project(folder)
    project = project_of(folder)
    (project / "materializations" / "scd_type_2.py").unlink()
    for test in (project / "tests" / "models").glob("test_snap_*.yaml"):
        test.unlink()
    shutil.copytree(AS_IT_COMES, project, dirs_exist_ok=True)


def floor_command(load: Load, folder: Path) -> Command:
    mode = "change" if database_of(folder).exists() else "first"
    paths = [str(database_of(folder)), str(load.inputs), load.as_of.isoformat(), str(outputs_of(folder))]
    return Command([sys.executable, str(BENCHMARKS / "floor.py"), mode, *paths], PROJECT_ROOT)


def dbt_command(load: Load, folder: Path) -> Command:
    arguments = [str(DBT), "build", "--project-dir", str(DBT_PROJECT), "--profiles-dir", str(DBT_PROJECT)]
    settings = {
        "BENCH_DATABASE": str(database_of(folder)),
        "BENCH_INPUTS": str(load.inputs),
        "BENCH_OUTPUTS": str(outputs_of(folder)),
        "BENCH_LOADED_AT": load.as_of.isoformat(sep=" "),
        # Fewer leave cores idle, more take no less.
        "BENCH_THREADS": str(os.cpu_count()),
        "DBT_TARGET_PATH": str(folder / "target"),
        "DBT_LOG_PATH": str(folder / "logs"),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    }
    return Command(arguments, PROJECT_ROOT, settings)


def check_dbt(folder: Path) -> None:
    """Stops where dbt's environment is missing.

    Raises:
        PipelineError: It is.
    """
    if not DBT.exists():
        raise PipelineError(f"{DBT} does not exist: `make bench` sets it up, or leave dbt out (CONTESTANTS).")


OURS = Contestant("ours", pipeline_command, prepare=copy_project, step_seconds=pipeline_step_seconds)
FLOOR = Contestant("floor", floor_command)
DBT_CONTESTANT = Contestant("dbt", dbt_command, prepare=check_dbt)
SQLMESH_AS_IT_COMES = Contestant(
    "sqlmesh as it comes",
    pipeline_command,
    dates_rows=False,
    prepare=copy_with_sqlmeshs_own_history,
    step_seconds=pipeline_step_seconds,
)
CONTESTANTS = (OURS, FLOOR, DBT_CONTESTANT, SQLMESH_AS_IT_COMES)
