"""The settings of a run: from the environment, then from `.env`; relative paths start at the project root."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from dotenv import load_dotenv

from scripts.errors import SettingsError

PROJECT_ROOT = Path(__file__).resolve().parent.parent
GATEWAYS = ("duckdb", "databricks")


@dataclass(frozen=True)
class Settings:
    """What a run needs to know. Shares are fractions of 1.

    Attributes:
        gateway: `duckdb` or `databricks` (DATABASE_TYPE).
        environment: Label of the reports (ENVIRONMENT).
        max_removed_share: A load that removes a larger share of the known keys is refused.
        max_rejected_share: A file with a larger share of malformed lines is refused.
    """

    gateway: str
    environment: str
    duckdb_path: Path
    input_path: Path
    output_path: Path
    quality_reports_path: Path
    feed_encoding: str
    max_removed_share: float
    max_rejected_share: float


def load_settings(inputs: str | None = None) -> Settings:
    """Reads the settings and puts the resolved DUCKDB_PATH into the environment, where config.yaml looks for it.

    Args:
        inputs: Folder of the feeds, in place of INPUT_PATH; a relative one starts at the working directory.

    Raises:
        SettingsError: A value is of the wrong form, or the databricks gateway lacks what it needs.
    """
    load_dotenv(PROJECT_ROOT / ".env", override=False)
    # SQLMesh would read .env once more and let it win over the environment.
    os.environ["PYTHON_DOTENV_DISABLED"] = "1"
    settings = Settings(
        gateway=_choice("DATABASE_TYPE", "duckdb", GATEWAYS),
        environment=os.environ.get("ENVIRONMENT", "dev"),
        duckdb_path=_path("DUCKDB_PATH", "data/duckdb/lending_club.duckdb"),
        input_path=Path(inputs).resolve() if inputs else _path("INPUT_PATH", "data/inputs"),
        output_path=_path("OUTPUT_PATH", "data/outputs"),
        quality_reports_path=_path("QUALITY_REPORTS_PATH", "data/quality_reports"),
        feed_encoding=os.environ.get("FEED_ENCODING", "utf-8"),
        max_removed_share=_share("MAX_REMOVED_SHARE", 0.5),
        max_rejected_share=_share("MAX_REJECTED_SHARE", 0.1),
    )
    _make_folder(settings.duckdb_path.parent, "DUCKDB_PATH")
    os.environ["DUCKDB_PATH"] = str(settings.duckdb_path)
    os.environ["DATABASE_TYPE"] = settings.gateway
    return settings


def _make_folder(folder: Path, name: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"The folder {folder} of {name} can't be made: {error.strerror}. Set {name} to a path you may write."
        ) from error


def _choice(name: str, default: str, allowed: tuple[str, ...]) -> str:
    value = os.environ.get(name, default).strip().lower() or default
    if value not in allowed:
        raise SettingsError(f"{name} is '{value}'; it must be one of: {', '.join(allowed)}.")
    return value


def _path(name: str, default: str) -> Path:
    return (PROJECT_ROOT / (os.environ.get(name) or default)).resolve()


def _share(name: str, default: float) -> float:
    text = os.environ.get(name) or str(default)
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise SettingsError(f"{name} is '{text}'; it must be a fraction between 0 and 1, such as {default}.")
    return share
