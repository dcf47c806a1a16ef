"""The settings of a run: from the environment, then from `.env`; relative paths start at the project root."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from pathlib import Path

from dotenv import load_dotenv

from scripts.errors import SettingsError

PROJECT_ROOT = Path(__file__).resolve().parent.parent
DEFAULT_INPUT_PATH = PROJECT_ROOT / "data" / "inputs"
GATEWAYS = ("duckdb", "databricks")


@dataclass(frozen=True)
class DatabricksSettings:
    """Where the warehouse is and how to be let in: a token, a service principal, or else the browser (OAuth).

    Attributes:
        catalog: Unity Catalog catalog of all tables.
        schema: Schema in which the marts are published.
        volume: Schema and volume, in the catalog, for files on their way to the warehouse.
    """

    host: str
    http_path: str
    catalog: str
    schema: str
    volume: tuple[str, str]
    token: str = field(repr=False)
    client_id: str
    client_secret: str = field(repr=False)


@dataclass(frozen=True)
class ReportSettings:
    """What a quality report needs to know: no value of these is wrong, so that a run that can't begin has one, too."""

    gateway: str
    environment: str
    folder: Path


@dataclass(frozen=True)
class Settings:
    """What a run needs to know. Shares are fractions of 1.

    Attributes:
        gateway: `duckdb` or `databricks` (DATABASE_TYPE).
        environment: Label of the reports (ENVIRONMENT).
        production_branches: Git branches from which prod is deployed (PROD_BRANCH).
        max_removed_share: A load that removes a larger share of the known keys is refused.
        warn_removed_share: A load that removes a larger share of them is taken, with a warning.
        max_rejected_share: A file with a larger share of malformed lines is refused.
        max_quarantined_share: A load is refused that would keep a larger share of what it brings, of the accounts or of
            a mart's rows out of the marts.
        max_column_shift: A load is refused in which a column's share of absent or zero values grows by more.
        lock_timeout: Seconds to wait for a database that another process has open, or on Databricks for another ingest
            (LOCK_TIMEOUT).
        databricks: None where nothing of Databricks is set.
    """

    gateway: str
    environment: str
    production_branches: tuple[str, ...]
    duckdb_path: Path
    input_path: Path
    output_path: Path
    quality_reports_path: Path
    feed_encoding: str
    max_removed_share: float
    warn_removed_share: float
    max_rejected_share: float
    max_quarantined_share: float
    max_column_shift: float
    lock_timeout: float
    databricks: DatabricksSettings | None

    @property
    def sqlmesh_file(self) -> Path:
        """The DuckDB file that config.yaml has SQLMesh open: of the tables, or of the state of those on Databricks."""
        if self.gateway == "duckdb":
            return self.duckdb_path
        return Path(f"{str(self.duckdb_path).removesuffix('.duckdb')}.state.duckdb")


@dataclass(frozen=True)
class Allowed:
    """What a load may do in one run, however much of it: the guards that are off."""

    removals: bool = False
    quarantine: bool = False
    shift: bool = False


NOTHING_ALLOWED = Allowed()


def load_report_settings() -> ReportSettings:
    """Reads the settings of the quality reports."""
    _load_dotenv()
    return ReportSettings(
        gateway=os.environ.get("DATABASE_TYPE") or "duckdb",
        environment=os.environ.get("ENVIRONMENT", "dev"),
        folder=_path("QUALITY_REPORTS_PATH", "data/quality_reports"),
    )


def load_settings(inputs: str | None = None) -> Settings:
    """Reads the settings and puts the resolved DUCKDB_PATH into the environment, where config.yaml looks for it.

    Args:
        inputs: Folder of the feeds, in place of INPUT_PATH; a relative one starts at the working directory.

    Raises:
        SettingsError: A value is of the wrong form, or the databricks gateway lacks what it needs.
    """
    of_reports = load_report_settings()
    settings = Settings(
        gateway=_choice("DATABASE_TYPE", "duckdb", GATEWAYS),
        environment=of_reports.environment,
        production_branches=tuple(filter(None, [os.environ.get("PROD_BRANCH")])) or ("main", "master"),
        duckdb_path=_path("DUCKDB_PATH", "data/duckdb/lending_club.duckdb"),
        input_path=Path(inputs).resolve() if inputs else _path("INPUT_PATH", str(DEFAULT_INPUT_PATH)),
        output_path=_path("OUTPUT_PATH", "data/outputs"),
        quality_reports_path=of_reports.folder,
        feed_encoding=os.environ.get("FEED_ENCODING", "utf-8"),
        max_removed_share=_share("MAX_REMOVED_SHARE", 0.5),
        warn_removed_share=_share("WARN_REMOVED_SHARE", 0.05),
        max_rejected_share=_share("MAX_REJECTED_SHARE", 0.1),
        max_quarantined_share=_share("MAX_QUARANTINED_SHARE", 0.2),
        max_column_shift=_share("MAX_COLUMN_SHIFT", 0.5),
        lock_timeout=_seconds("LOCK_TIMEOUT", 60),
        databricks=_databricks(),
    )
    if settings.gateway == "databricks":
        databricks_of(settings)
    _make_folder(settings.duckdb_path.parent, "DUCKDB_PATH")
    os.environ["DUCKDB_PATH"] = str(settings.duckdb_path)
    os.environ["DATABASE_TYPE"] = settings.gateway
    return settings


def _load_dotenv() -> None:
    load_dotenv(PROJECT_ROOT / ".env", override=False)
    # SQLMesh would read .env once more and let it win over the environment.
    os.environ["PYTHON_DOTENV_DISABLED"] = "1"


def databricks_of(settings: Settings) -> DatabricksSettings:
    """The Databricks settings.

    Raises:
        SettingsError: There are none.
    """
    if settings.databricks is None:
        raise SettingsError(
            "Databricks is not configured. Set DATABRICKS_HOST, DATABRICKS_HTTP_PATH and DATABRICKS_CATALOG, and "
            "DATABRICKS_TOKEN or DATABRICKS_CLIENT_ID with DATABRICKS_CLIENT_SECRET (neither: sign-in in the browser)."
        )
    return settings.databricks


def _databricks() -> DatabricksSettings | None:
    value = {
        name: (os.environ.get(f"DATABRICKS_{name}") or "").strip()
        for name in ("HOST", "HTTP_PATH", "CATALOG", "SCHEMA", "VOLUME", "TOKEN", "CLIENT_ID", "CLIENT_SECRET")
    }
    needed = ("HOST", "HTTP_PATH", "CATALOG")
    if not any(value[name] for name in needed):
        return None
    missing = [f"DATABRICKS_{name}" for name in needed if not value[name]]
    if bool(value["CLIENT_ID"]) != bool(value["CLIENT_SECRET"]):
        missing.append("DATABRICKS_CLIENT_SECRET" if value["CLIENT_ID"] else "DATABRICKS_CLIENT_ID")
    if missing:
        raise SettingsError(f"Databricks is configured in part; also set: {', '.join(missing)}.")
    if value["TOKEN"] and value["CLIENT_ID"]:
        raise SettingsError(
            "DATABRICKS_TOKEN and DATABRICKS_CLIENT_ID are both set: keep the token or the service principal."
        )
    host = value["HOST"].removeprefix("https://").strip("/")
    schema, _, volume = (value["VOLUME"] or "landing.feed").partition(".")
    if not schema or not volume or "." in volume:
        raise SettingsError(f"DATABRICKS_VOLUME is '{value['VOLUME']}'; it must be schema.volume, as in landing.feed.")
    os.environ["DATABRICKS_HOST"] = host
    return DatabricksSettings(
        host=host,
        http_path=value["HTTP_PATH"],
        catalog=value["CATALOG"],
        schema=value["SCHEMA"] or "default",
        volume=(schema, volume),
        token=value["TOKEN"],
        client_id=value["CLIENT_ID"],
        client_secret=value["CLIENT_SECRET"],
    )


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


def _seconds(name: str, default: float) -> float:
    text = os.environ.get(name) or str(default)
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < math.inf:
        raise SettingsError(f"{name} is '{text}'; it must be a number of seconds, such as {default:g}.")
    return seconds
