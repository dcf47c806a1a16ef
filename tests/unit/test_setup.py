"""Set-up: what a person sees on a machine that lacks something, and what requirements.txt pins.

The Makefile runs here with a PATH that holds only the tools it may rely on and made-up interpreters; nothing is
downloaded.
"""

import os
import re
import shutil
import subprocess
import tomllib
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
# What a machine with a shell and make has. Python, git, uv and Java are not among them.
TOOLS = ("sh", "cat", "chmod", "cmp", "cp", "find", "head", "ln", "mkdir", "rm", "sed", "tr")
REQUIREMENTS = (ROOT / "requirements.txt").read_text(encoding="utf-8")

# Answers as an interpreter of the given version does; its virtual environments hold itself.
PYTHON = """#!/bin/sh
case "$1 $2" in
    *version_info*) echo '{version}' ;;
    *ensurepip*) exit {venv_missing} ;;
    "--version "*) echo 'Python {version}.0' ;;
    "-m venv") mkdir -p "$4/bin" && cp "$0" "$4/bin/python" && echo made >> made.txt ;;
    "-m scripts.pipeline") shift 2; echo "pipeline $*" ;;
esac
"""
NOT_ACTIVE = "#!/bin/sh\necho 'this version is not active' >&2\nexit 127\n"


class Machine:
    """A folder with the project's Makefile and requirements.txt, and a PATH of its own."""

    def __init__(self, folder: Path) -> None:
        self.project = folder / "project"
        self.bin = folder / "bin"
        self.project.mkdir()
        self.bin.mkdir()
        for name in ("Makefile", "requirements.txt"):
            shutil.copy(ROOT / name, self.project / name)
        for tool in TOOLS:
            found = shutil.which(tool)
            assert found, f"{tool} is not on the PATH"
            (self.bin / tool).symlink_to(found)

    def add(self, name: str, script: str) -> None:
        """Puts a program on the PATH."""
        program = self.bin / name
        program.write_text(script)
        program.chmod(0o755)

    def add_python(self, name: str, version: str, *, venv_missing: bool = False) -> None:
        self.add(name, PYTHON.format(version=version, venv_missing=int(venv_missing)))

    def make(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs make and returns its exit code and what it printed (both streams in `stdout`)."""
        make = shutil.which("make")
        assert make, "make is not on the PATH"
        return subprocess.run(
            [make, "--no-print-directory", *arguments],
            cwd=self.project,
            env={"PATH": str(self.bin), "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def times_made(self) -> int:
        """How many times a virtual environment was made."""
        made = self.project / "made.txt"
        return len(made.read_text().splitlines()) if made.exists() else 0


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def pins(requirements: str) -> dict[str, set[str]]:
    """The pinned versions of each package, from a requirements file."""
    versions: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([a-z0-9-]+)(?:\[.+\])?==([^\s;]+)", requirements, re.M):
        versions.setdefault(name, set()).add(version)
    return versions


def test_make_alone_lists_every_target_with_a_description(machine: Machine) -> None:
    targets = re.findall(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    assert {"run", "test", "test-properties", "test-databricks", "smoke-databricks", "plan", "ui"} <= set(targets)
    assert {"bench", "growth", "lint", "status", "audit", "clean", "requirements", "help"} <= set(targets)
    result = machine.make()
    assert result.returncode == 0
    described = dict(re.findall(r"^  ([a-z-]+) +(\S.*)$", result.stdout, re.M))
    assert sorted(described) == sorted(targets)


@pytest.mark.parametrize("version", ["2.7", "3.10", "3.14"])
def test_python_of_another_version_gets_one_sentence(machine: Machine, version: str) -> None:
    machine.add_python("python3", version)
    result = machine.make("run")
    assert result.returncode != 0
    said = [line for line in result.stdout.splitlines() if not line.startswith("make")]
    assert len(said) == 1
    assert "Python 3.11, 3.12 or 3.13 is needed" in said[0]
    assert f"python3 is {version}" in said[0]
    assert machine.times_made() == 0


def test_no_python_at_all_gets_one_sentence(machine: Machine) -> None:
    result = machine.make("test")
    assert result.returncode != 0
    said = [line for line in result.stdout.splitlines() if not line.startswith("make")]
    assert len(said) == 1
    assert "no python3 on the PATH" in said[0]


def test_missing_venv_module_gets_one_sentence_with_the_package_to_install(machine: Machine) -> None:
    machine.add_python("python3", "3.11", venv_missing=True)
    result = machine.make("run")
    assert result.returncode != 0
    said = [line for line in result.stdout.splitlines() if not line.startswith("make")]
    assert len(said) == 1
    assert "apt-get install python3.11-venv" in said[0]
    assert machine.times_made() == 0


def test_interpreter_that_does_not_run_or_fit_is_passed_over(machine: Machine) -> None:
    machine.add("python3.13", NOT_ACTIVE)
    machine.add_python("python3.12", "3.12", venv_missing=True)
    machine.add_python("python3.11", "3.11")
    result = machine.make("setup")
    assert result.returncode == 0, result.stdout
    assert "with Python 3.11.0" in result.stdout


def test_named_python_comes_first(machine: Machine) -> None:
    machine.add_python("python3.13", "3.13")
    machine.add_python("my-python", "3.12")
    result = machine.make("setup", f"PYTHON={machine.bin / 'my-python'}")
    assert "with Python 3.12.0" in result.stdout


def test_set_up_happens_once_and_again_when_requirements_change(machine: Machine) -> None:
    machine.add_python("python3.12", "3.12")
    assert machine.make("setup").returncode == 0
    second = machine.make("setup")
    assert (second.returncode, second.stdout, machine.times_made()) == (0, "", 1)
    with (machine.project / "requirements.txt").open("a") as requirements:
        requirements.write("# another\n")
    assert machine.make("setup").returncode == 0
    assert machine.make("setup").stdout == ""
    assert machine.times_made() == 2


def test_half_made_environment_is_made_anew(machine: Machine) -> None:
    machine.add_python("python3.12", "3.12")
    assert machine.make("setup").returncode == 0
    (machine.project / ".venv/bin/python").unlink()
    assert machine.make("setup").returncode == 0
    assert machine.times_made() == 2


def test_another_named_python_version_makes_the_environment_anew(machine: Machine) -> None:
    machine.add_python("python3.13", "3.13")
    machine.add_python("python3.12", "3.12")
    machine.add_python("python3.9", "3.9")
    assert machine.make("setup").returncode == 0
    assert "with Python 3.12.0" in machine.make("setup", "PYTHON=python3.12").stdout
    assert machine.make("setup", "PYTHON=python3.12").stdout == ""
    assert machine.make("setup", "PYTHON=python3.9").stdout == ""


@pytest.mark.parametrize("version", ["11.0.2", "1.8.0_402", None])
def test_databricks_tests_are_skipped_without_a_recent_java(machine: Machine, version: str | None) -> None:
    if version:
        machine.add("java", f"#!/bin/sh\necho 'openjdk version \"{version}\" 2024-01-16' >&2\n")
    result = machine.make("test-databricks")
    assert result.returncode == 0, result.stdout
    assert "skipped, it needs Java 17 or newer" in result.stdout
    assert "apt-get install openjdk-17-jre-headless" in result.stdout
    assert machine.times_made() == 0


def test_databricks_tests_need_both_of_their_environments(machine: Machine) -> None:
    machine.add("java", "#!/bin/sh\necho 'openjdk version \"17.0.15\" 2025-04-15' >&2\n")
    machine.add_python("python3.12", "3.12")
    assert machine.make("test-databricks").returncode != 0, "the second has no requirements"
    (machine.project / "tests" / "databricks").mkdir(parents=True)
    (machine.project / "tests" / "databricks" / "requirements.txt").write_text("pyspark==4\n")
    result = machine.make("test-databricks")
    assert result.returncode == 0, result.stdout
    assert {path.parent.name for path in machine.project.glob(".venv*/installed.txt")} == {".venv", ".venv-databricks"}


def test_plan_takes_the_options_of_sqlmeshs_plan(machine: Machine) -> None:
    machine.add_python("python3.12", "3.12")
    result = machine.make("plan", "ARGS=--auto-apply --no-prompts")
    assert result.stdout.splitlines()[-1] == "pipeline plan --auto-apply --no-prompts"


@pytest.mark.parametrize(
    ("variables", "options"),
    [
        ([], ""),
        (["MODEL=marts.account_summary"], " --model marts.account_summary"),
        (["AUDIT=not_null forall", "MODEL=a.b c.d"], " --model a.b --model c.d --audit not_null --audit forall"),
    ],
)
def test_audit_is_of_the_models_and_audits_that_are_named(machine: Machine, variables: list[str], options: str) -> None:
    machine.add_python("python3.12", "3.12")
    result = machine.make("audit", *variables)
    assert result.returncode == 0, result.stdout
    assert " ".join(result.stdout.splitlines()[-1].split()) == f"pipeline audit{options}"


def test_clean_removes_what_runs_made_and_keeps_the_inputs(machine: Machine) -> None:
    made = ["data/duckdb/lending_club.duckdb", "data/outputs/manifest.json", "data/quality_reports/a.json", ".cache/x"]
    tracked = ["data/sample/Customer.csv", "data/duckdb/.gitkeep"]
    kept = [*tracked, "data/inputs/Customer.csv", ".venv/bin/__pycache__/x", ".env"]
    for name in (*made, *kept, "scripts/__pycache__/x.pyc"):
        (machine.project / name).parent.mkdir(parents=True, exist_ok=True)
        (machine.project / name).touch()
    assert machine.make("clean").returncode == 0
    left = {path.relative_to(machine.project).as_posix() for path in machine.project.rglob("*") if path.is_file()}
    assert left == {"Makefile", "requirements.txt", *kept}


def test_every_requirement_is_pinned_with_hashes_and_names_no_host() -> None:
    entries = re.split(r"\n(?=[a-z0-9])", "\n" + re.sub(r"^ *#.*\n", "", REQUIREMENTS, flags=re.M))[1:]
    assert len(entries) > 50
    for entry in entries:
        assert re.match(r"[a-z0-9-]+(\[.+\])?==\S+", entry), entry
        assert "--hash=sha256:" in entry, entry
    assert "://" not in REQUIREMENTS
    assert not re.search(r"--(extra-)?index-url|--find-links|--trusted-host", REQUIREMENTS)


def test_extras_that_packages_ask_for_are_in_the_pins() -> None:
    """To pip 23.2, which Python 3.11 brings, `coverage==1` is no pin of `coverage[toml]`: it would take a newer one."""
    asked: dict[str, set[str]] = {}
    for name in pins(REQUIREMENTS):
        with suppress(PackageNotFoundError):  # pinned for another platform or Python
            for wanted in map(Requirement, distribution(name).requires or ()):
                if wanted.extras and (wanted.marker is None or wanted.marker.evaluate({"extra": ""})):
                    asked.setdefault(wanted.name, set()).update(wanted.extras)
    assert asked
    for name, extras in asked.items():
        pinned = re.search(rf"^{name}\[(.+)\]==", REQUIREMENTS, re.M)
        assert pinned, f"{name}{sorted(extras)} is pinned without its extras: run `make requirements`"
        assert extras <= set(pinned[1].split(", ")), name


def test_requirements_pin_what_the_project_depends_on() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    pinned = pins(REQUIREMENTS)
    assert project["project"]["requires-python"] == ">=3.11,<3.14"
    for wanted in (*project["project"]["dependencies"], *project["dependency-groups"]["dev"]):
        name = canonicalize_name(Requirement(wanted).name)
        assert name in pinned, f"{name} is missing: run `make requirements`"
    assert pinned["sqlmesh"] == {"0.236.4"}
    assert all(version.startswith("1.") for version in pinned["duckdb"])
    assert all(int(version.split(".")[0]) < 3 for version in pinned["pandas"])
    # psycopg2 itself has to be compiled; its ready-made form is the one that installs everywhere.
    assert "psycopg2-binary" in pinned
    assert "psycopg2" not in pinned


def test_benchmarks_compare_on_the_same_engine() -> None:
    of_dbt = pins((ROOT / "benchmarks" / "requirements.txt").read_text(encoding="utf-8"))
    assert of_dbt["duckdb"] == pins(REQUIREMENTS)["duckdb"], "run `make requirements`"


def test_ci_runs_tests_then_linting_then_the_databricks_rehearsal() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert re.findall(r"^make (\S+)$", script.read_text(encoding="utf-8"), re.M) == ["test", "lint", "test-databricks"]


class TestDocuments:
    """What comments and pages send a reader to is there."""

    PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))

    def headings(self, page: Path) -> set[str]:
        return set(re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE))

    def test_sections_that_comments_name_are_there(self) -> None:
        named = []
        for path in subprocess.run(
            ["git", "ls-files", "*.py", "*.sql"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.split():
            text = (ROOT / path).read_text(encoding="utf-8")
            for page, sections in re.findall(r"\((docs/\w+\.md)((?:,\s+\"[^\"]+\")+)\)", text):
                named += [(path, page, section) for section in re.findall(r"\"([^\"]+)\"", sections)]
        assert len({path for path, *_ in named}) > 5, "they are not found any more: this proves nothing"
        missing = [one for one in named if one[2] not in self.headings(ROOT / one[1])]
        assert not missing

    @pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
    def test_files_that_pages_name_are_there(self, page: Path) -> None:
        text = page.read_text(encoding="utf-8")
        linked = [page.parent / target for target in re.findall(r"\]\((?!http)([^)#]+)\)", text)]
        shown = re.findall(
            r"`((?:scripts|models|tests|docs|macros|linter|seeds|audits|materializations)/[\w./]*)`", text
        )
        missing = [str(path) for path in (*linked, *(ROOT / name for name in shown)) if not path.exists()]
        assert not missing
