"""Which environment a git branch is planned in."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import scripts.plan
from scripts.errors import SettingsError
from scripts.plan import environment_of, this_environment


@pytest.mark.parametrize(
    ("branch", "environment"),
    [("main", "prod"), ("master", "prod"), ("Feature/Rates-2", "feature_rates_2"), ("maintenance", "maintenance")],
)
def test_a_branch_has_an_environment_of_its_own_and_main_has_prod(branch: str, environment: str) -> None:
    assert environment_of(branch, ["main", branch]) == environment


@pytest.mark.parametrize("branch", ["prod", "Prod", ""])
def test_only_the_production_branch_is_planned_as_prod(branch: str) -> None:
    with pytest.raises(SettingsError):
        environment_of(branch)


def test_two_branches_do_not_share_an_environment() -> None:
    with pytest.raises(SettingsError, match="feature/rates would share the environment feature_rates"):
        environment_of("feature-rates", ["feature-rates", "feature/rates", "main"])


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=someone", "-c", "user.email=someone@example.com")
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


def test_the_branch_is_that_of_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scripts.plan, "PROJECT_ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert this_environment() == "prod", "no checkout"
    git(tmp_path, "init", "--initial-branch=main")
    git(tmp_path, "commit", "--allow-empty", "--message=first")
    assert this_environment() == "prod"
    git(tmp_path, "switch", "--create", "rates/2025")
    assert this_environment() == "rates_2025"
    git(tmp_path, "checkout", "--detach")
    with pytest.raises(SettingsError, match="HEAD is on no branch"):
        this_environment()
