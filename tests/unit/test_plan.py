"""Which environment a git branch is planned in."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from scripts.errors import DeployRefusedError, SettingsError
from scripts.project.branch import environment_of, environment_of_folder, refuse_deploy_from_another_branch

PRODUCTION = ("main", "master")


@pytest.mark.parametrize(
    ("branch", "environment"),
    [("main", "prod"), ("master", "prod"), ("Feature/Rates-2", "feature_rates_2"), ("maintenance", "maintenance")],
)
def test_a_branch_has_an_environment_of_its_own_and_main_has_prod(branch: str, environment: str) -> None:
    assert environment_of(branch, PRODUCTION, ["main", branch]) == environment


@pytest.mark.parametrize("branch", ["prod", "Prod", ""])
def test_only_the_production_branch_is_planned_as_prod(branch: str) -> None:
    with pytest.raises(SettingsError):
        environment_of(branch, PRODUCTION)


def test_two_branches_do_not_share_an_environment() -> None:
    with pytest.raises(SettingsError, match="feature/rates would share the environment feature_rates"):
        environment_of("feature-rates", PRODUCTION, ["feature-rates", "feature/rates", "main"])


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=someone", "-c", "user.email=someone@example.com")
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


def test_the_rules_are_those_of_the_folders_branch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert environment_of_folder(tmp_path, PRODUCTION) == "prod", "no checkout"
    refuse_deploy_from_another_branch(tmp_path, PRODUCTION)

    git(tmp_path, "init", "--initial-branch=main")
    git(tmp_path, "commit", "--allow-empty", "--message=first")
    assert environment_of_folder(tmp_path, PRODUCTION) == "prod"
    refuse_deploy_from_another_branch(tmp_path, PRODUCTION)

    git(tmp_path, "switch", "--create", "rates/2025")
    assert environment_of_folder(tmp_path, PRODUCTION) == "rates_2025"
    with pytest.raises(DeployRefusedError, match=r"on branch rates/2025, not on main or master.*--deploy"):
        refuse_deploy_from_another_branch(tmp_path, PRODUCTION)
    assert environment_of_folder(tmp_path, ("rates/2025",)) == "prod"

    git(tmp_path, "checkout", "--detach")
    with pytest.raises(SettingsError, match="HEAD is on no branch"):
        environment_of_folder(tmp_path, PRODUCTION)
    with pytest.raises(DeployRefusedError, match="on no branch"):
        refuse_deploy_from_another_branch(tmp_path, PRODUCTION)
