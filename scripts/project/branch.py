"""Which environment a git branch is planned in, and from which branch prod is deployed: the rules, in one place."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Collection
from pathlib import Path

from scripts.errors import DeployRefusedError, SettingsError
from scripts.project.prod import PROD


def environment_of(branch: str, production: Collection[str], others: Collection[str] = ()) -> str:
    """The environment of a git branch (empty where HEAD is on none): `prod` for a production branch, else its name in
    SQLMesh's letters.

    Raises:
        SettingsError: That is prod's name or also another branch's (of all `others`), or HEAD is on no branch.
    """
    if branch in production:
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


def environment_of_folder(folder: Path, production: Collection[str]) -> str:
    """The environment of a folder's branch (see `environment_of`); `prod` where the folder is no git checkout."""
    branch = _branch(folder)
    if branch is None:
        return PROD
    return environment_of(branch, production, _git(folder, "branch", "--format=%(refname:short)").splitlines())


def refuse_deploy_from_another_branch(folder: Path, production: Collection[str]) -> None:
    """Lets prod be changed from a production branch, and from a folder that is no git checkout; from another branch,
    and from none, it is a DeployRefusedError."""
    branch = _branch(folder)
    if branch is None or branch in production:
        return
    place = f"on branch {branch}" if branch else "on no branch"
    raise DeployRefusedError(
        f"The models of this folder are not prod's, and it is {place}, not on {' or '.join(production)}: nothing "
        "was written. See what the change does in an environment of its own with `make plan`, and run from the "
        "production branch once it is merged; or insist with --deploy."
    )


def _environment_name(branch: str) -> str:
    return re.sub("[^a-z0-9_]", "_", branch.lower())


def _branch(folder: Path) -> str | None:
    """The branch that HEAD is on; empty where it is on none, None where the folder is no git checkout."""
    try:
        return _git(folder, "symbolic-ref", "--quiet", "--short", "HEAD")
    except subprocess.CalledProcessError as error:
        return "" if error.returncode == 1 else None
    except OSError:  # there is no git
        return None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
