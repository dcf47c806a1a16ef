"""The benchmarks run, measure what they say, and find out who comes to other marts. Nothing here depends on time."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.__main__ import measure_sizes, report
from benchmarks.contestants import FLOOR, OURS, Contestant, floor_command
from benchmarks.loads import Load, four_loads
from benchmarks.process import Command, run_measured
from benchmarks.race import race
from benchmarks.results import machine_facts, record_of
from scripts.errors import PipelineError

ACCOUNTS = 2_000
MEGABYTE = 1_000_000
LOADS = ["first load", "10 % changed", "1 % changed", "nothing changed"]


def say_nothing(what: str) -> None:
    pass


def test_all_loads_are_measured_and_told(tmp_path: Path) -> None:
    console = Console(width=120, record=True, file=(tmp_path / "told.txt").open("w"))
    measurements = measure_sizes([ACCOUNTS], [OURS, FLOOR], 1, tmp_path / "scratch", console)
    assert [(one.load, one.contestant) for one in measurements] == [
        (load, contestant) for load in LOADS for contestant in ("ours", "floor")
    ]
    for one in measurements:
        assert min(one.usage.wall_seconds, one.usage.cpu_seconds) > 0
        assert min(one.usage.peak_bytes, one.database_bytes) > MEGABYTE

    record = record_of(machine_facts(), measurements, rounds=1)
    report(record, measurements, tmp_path / "results", tmp_path / "out", console)
    told, markdown = console.export_text(), (tmp_path / "out" / "bench.md").read_text()
    assert all(load in text for load in LOADS for text in (told, markdown))
    (kept,) = (tmp_path / "results").glob("bench_*.json")
    assert record == json.loads(kept.read_text()) == json.loads((tmp_path / "out" / "bench.json").read_text())
    assert len(record["measurements"]) == len(record["medians"]) == len(measurements)
    assert {one["ratios"]["wall_seconds"] for one in record["medians"] if one["contestant"] == "ours"} == {1.0}
    assert {"duckdb", "python", "sqlmesh"} <= set(record["machine"]["versions"])


def floor_with(replaced: tuple[str, str], folder: Path) -> Contestant:
    """The floor, with another text in the place of one in its script."""
    script = folder / "other_floor.py"

    def command(load: Load, its_folder: Path) -> Command:
        original = floor_command(load, its_folder)
        python, floor, *rest = original.arguments
        script.write_text(Path(floor).read_text().replace(*replaced))
        return replace(original, arguments=[python, str(script), *rest])

    return Contestant("other floor", command)


def test_a_contestant_with_other_figures_is_found_out(tmp_path: Path) -> None:
    loads = four_loads(ACCOUNTS, tmp_path / "feeds")
    other = floor_with(("THEN tier.loan_bonus_pct", "THEN 2 * tier.loan_bonus_pct"), tmp_path)
    with pytest.raises(PipelineError) as stopped:
        race(ACCOUNTS, [FLOOR, other], loads, 1, tmp_path / "scratch", say_nothing)
    message = str(stopped.value)
    assert "other floor came to other marts than floor, first load" in message
    assert "account_summary.parquet" in message
    assert "missing {'account_id': 'A0" in message


def test_a_contestant_that_misses_a_change_is_found_out(tmp_path: Path) -> None:
    loads = four_loads(ACCOUNTS, tmp_path / "feeds")
    other = floor_with(("now.customer_name IS DISTINCT FROM before.customer_name", "FALSE"), tmp_path)
    with pytest.raises(PipelineError, match=r"(?s)10 % changed.*customer_profile\.parquet.*customer_name"):
        race(ACCOUNTS, [FLOOR, replace(other, dates_rows=False)], loads, 1, tmp_path / "scratch", say_nothing)


def test_a_file_that_is_missing_is_found_out(tmp_path: Path) -> None:
    loads = four_loads(ACCOUNTS, tmp_path / "feeds")
    renamed = floor_with(("}.csv'", "}.text'"), tmp_path)
    with pytest.raises(PipelineError, match=r"account_summary\.csv was not written"):
        race(ACCOUNTS, [FLOOR, renamed], loads, 1, tmp_path / "scratch", say_nothing)


def test_a_contestant_that_fails_is_named_with_its_last_lines(tmp_path: Path) -> None:
    loads = four_loads(ACCOUNTS, tmp_path / "feeds")
    failing = Contestant("none", lambda load, folder: Command([sys.executable, "-c", "exit('no disk')"], folder))
    with pytest.raises(PipelineError, match=r"(?s)none failed, first load\..*exit code 1.*no disk"):
        race(ACCOUNTS, [failing], loads, 1, tmp_path / "scratch", say_nothing)


def test_the_memory_of_a_process_is_not_that_of_who_measures_it(tmp_path: Path) -> None:
    held = bytearray(b"1") * (300 * MEGABYTE)
    grows = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'bytearray(b\"1\") * 100_000_000'])"
    small, large = (
        run_measured(Command([sys.executable, "-c", script], tmp_path), tmp_path / "log") for script in ("pass", grows)
    )
    assert small.peak_bytes < 100 * MEGABYTE < large.peak_bytes < len(held), "children count, parents don't"
