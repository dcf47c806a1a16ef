"""The settings of a run, each declared once: from the environment, then from `.env`.

`.env.example` is written from this file (`python -m tools.env_example`); config.py hands to SQLMesh what is for it.
Relative paths start at the project root.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from dotenv import dotenv_values
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WrapValidator

from scripts.errors import SettingsError

PROJECT_ROOT = Path(__file__).resolve().parent.parent
DEFAULT_INPUT_PATH = PROJECT_ROOT / "data" / "inputs"


@dataclass(frozen=True)
class DatabricksSettings:
    """Where the warehouse is and how to be let in: a token, a service principal, or else the browser (OAuth). All
    tables are in `catalog`, the published marts in its `schema`; files on their way to the warehouse go through its
    `volume` (schema and volume)."""

    host: str
    http_path: str
    catalog: str
    schema: str
    volume: tuple[str, str]
    token: str = field(repr=False)
    client_id: str
    client_secret: str = field(repr=False)


class ReportSettings(NamedTuple):
    """What a quality report needs to know: no value of these is wrong, so that a run that can't begin has one, too."""

    gateway: str
    environment: str
    folder: Path


class Allowed(NamedTuple):
    """What a load may do in one run, however much of it: the guards that are off."""

    removals: bool = False
    quarantine: bool = False
    shift: bool = False


NOTHING_ALLOWED = Allowed()
_NEEDED = ("DATABRICKS_HOST", "DATABRICKS_HTTP_PATH", "DATABRICKS_CATALOG")
_PRINCIPAL = ("DATABRICKS_CLIENT_ID", "DATABRICKS_CLIENT_SECRET")
_NO_DATABRICKS = (
    "Databricks is not configured. Set DATABRICKS_HOST, DATABRICKS_HTTP_PATH and DATABRICKS_CATALOG, and "
    "DATABRICKS_TOKEN or DATABRICKS_CLIENT_ID with DATABRICKS_CLIENT_SECRET (neither: sign-in in the browser)."
)


def _must_be(what: str) -> WrapValidator:
    """In place of pydantic's words, which say nothing to someone who sets a variable."""

    def validate(value: Any, handler: Callable[[Any], Any]) -> Any:
        try:
            return handler(value)
        except ValidationError:
            raise ValueError(f"it must be {what}") from None

    return WrapValidator(validate)


Gateway = Annotated[Literal["duckdb", "databricks"], BeforeValidator(str.lower), _must_be("one of: duckdb, databricks")]
ProjectPath = Annotated[
    Path, AfterValidator(lambda path: (PROJECT_ROOT / path).resolve()), Field(validate_default=True)
]
Share = Annotated[float, Field(ge=0, le=1), _must_be("a fraction between 0 and 1, such as 0.5")]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False), _must_be("a number of seconds, such as 60")]
Port = Annotated[int, Field(ge=1, le=65535), _must_be("the number of a port, such as 5432")]
HostName = Annotated[str, AfterValidator(lambda text: text.removeprefix("https://").strip("/"))]
Words = Annotated[tuple[str, ...], BeforeValidator(str.split)]
Name = Annotated[str, Field(min_length=1)]
Volume = Annotated[
    tuple[Name, Name], BeforeValidator(lambda text: text.split(".")), _must_be("schema.volume, as in landing.feed")
]


class Settings(BaseModel):
    """What a run needs to know: a field per variable. Shares are fractions of 1.

    Where a field has another name than its variable, `alias` is the variable's. What stands in `.env.example` for a
    variable is its description, and as its value `examples`, else the default.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=str.upper, use_attribute_docstrings=True)

    gateway: Gateway = Field("duckdb", alias="DATABASE_TYPE")
    """Where the tables are: duckdb or databricks."""
    environment: str = "dev"
    """Label of this installation in the quality reports."""
    production_branches: Words = Field(("main", "master"), alias="PROD_BRANCH", examples=["main"])
    """Git branch from which prod is deployed (else main or master); a run on another one stops where it would change
    models."""
    duckdb_path: ProjectPath = Path("data/duckdb/lending_club.duckdb")
    """The DuckDB database file (state of a Databricks run without STATE_*: a file beside it, ending in
    .state.duckdb)."""
    input_path: ProjectPath = Path("data/inputs")
    """Folder that holds Customer.csv and accounts.csv; a first run with neither in data/inputs copies data/sample
    there."""
    output_path: ProjectPath = Path("data/outputs")
    """Folder for the exported CSV and Parquet files and their manifest."""
    quality_reports_path: ProjectPath = Path("data/quality_reports")
    """Folder for the quality reports, one per run."""
    max_removed_share: Share = 0.5
    """A load that would remove more than this share of the known keys is refused (checked from 20 known keys on)."""
    warn_removed_share: Share = 0.05
    """A load that removes more than this share of the known keys of a feed is taken, with a warning (from 20 known keys
    on)."""
    max_rejected_share: Share = 0.1
    """A file with more than this share of malformed lines is refused."""
    max_quarantined_share: Share = 0.2
    """A load is refused of which more than this share of a file's new and changed rows would be quarantined for one
    reason, which would hold back more than this share of the accounts (their customer is not known), or take more than
    this share of its rows out of a mart (each checked from 20 on). 1 lets everything pass."""
    max_column_shift: Share = 0.5
    """A load is refused in which the share of absent (of amounts: or zero) values in a column grows by more than this
    against the rows known before (checked from 20 known rows on). 1 lets everything pass."""
    lock_timeout: Seconds = 60
    """Seconds to wait for a database that another process has open (Databricks: for an ingest that is under way);
    `check` and `status` do not wait."""
    feed_encoding: str = "utf-8"
    """Encoding of the CSV files, where it is not UTF-8: cp1252 (Windows), latin-1 or utf-16."""
    databricks_host: HostName = Field("", examples=["your-workspace.cloud.databricks.com"])
    """Databricks: host name of the workspace, without https://."""
    databricks_http_path: str = Field("", examples=["/sql/1.0/warehouses/your-warehouse-id"])
    """Path of the SQL warehouse (its "Connection details" page shows it)."""
    databricks_token: str = Field("", repr=False)
    """Personal access token. Leave it out to sign in by OAuth."""
    databricks_client_id: str = ""
    """OAuth client id of a service principal. With neither token nor client id a browser opens to sign in."""
    databricks_client_secret: str = Field("", repr=False)
    """OAuth secret of that service principal."""
    databricks_catalog: str = Field("", examples=["workspace"])
    """Unity Catalog catalog that holds the tables."""
    databricks_schema: str = "default"
    """Schema in that catalog in which account_summary and customer_profile are published. Tables of these names that
    the pipeline did not publish are left alone, unless --replace is given."""
    databricks_volume: Volume = Field(("landing", "feed"), examples=["landing.feed"])
    """Volume (schema.volume in that catalog) through which feeds are uploaded; it is made if it is missing and may be
    made."""
    state_host: str = Field("", examples=["localhost"])
    """SQLMesh's state in PostgreSQL (recommended with Databricks): host name of the server."""
    state_port: Port = 5432
    """Its port."""
    state_database: str = "sqlmesh_state"
    """Database that holds the state."""
    state_user: str = ""
    """User name."""
    state_password: str = Field("", repr=False)
    """Password."""

    @property
    def sqlmesh_file(self) -> Path:
        """The DuckDB file that SQLMesh opens: of the tables, or of the state of those on Databricks."""
        return self.duckdb_path if self.gateway == "duckdb" else self.databricks_state_file

    @property
    def databricks_state_file(self) -> Path:
        """The DuckDB file of SQLMesh's state where the tables are on Databricks and the state is not in PostgreSQL."""
        return Path(f"{str(self.duckdb_path).removesuffix('.duckdb')}.state.duckdb")

    @property
    def databricks(self) -> DatabricksSettings | None:
        """Databricks' part; None where nothing of it is set. Raises SettingsError where only a part of what it needs is
        set, or two ways to be let in."""
        given = {name.upper() for name, value in self if value}
        if given.isdisjoint(_NEEDED):
            return None
        expected = _NEEDED if given.isdisjoint(_PRINCIPAL) else (*_NEEDED, *_PRINCIPAL)
        if missing := [name for name in expected if name not in given]:
            raise SettingsError(f"Databricks is configured in part; also set: {', '.join(missing)}.")
        if self.databricks_token and self.databricks_client_id:
            said = "DATABRICKS_TOKEN and DATABRICKS_CLIENT_ID are both set: keep the token or the service principal."
            raise SettingsError(said)
        parts = {name.removeprefix("databricks_"): value for name, value in self if name.startswith("databricks_")}
        return DatabricksSettings(**parts)


def load_report_settings() -> ReportSettings:
    values = {str(field.alias): field.default for field in Settings.model_fields.values()} | _values()
    folder = (PROJECT_ROOT / values["QUALITY_REPORTS_PATH"]).resolve()
    return ReportSettings(values["DATABASE_TYPE"], values["ENVIRONMENT"], folder)


def load_settings(inputs: str | None = None) -> Settings:
    """Reads the settings, and makes the folder of the database file. `inputs` is the folder of the feeds in place of
    INPUT_PATH; a relative one starts at the working directory. Raises SettingsError where a value is of the wrong form,
    or the databricks gateway lacks what it needs."""
    values = _values()
    if inputs:
        values["INPUT_PATH"] = str(Path(inputs).resolve())
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        faults = (
            f"{one['loc'][0]} is '{one['input']}'; {one['msg'].removeprefix('Value error, ')}."
            for one in error.errors()
        )
        raise SettingsError("\n".join(faults)) from None
    if settings.databricks is None and settings.gateway == "databricks":
        raise SettingsError(_NO_DATABRICKS)
    folder = settings.duckdb_path.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        said = f"The folder {folder} of DUCKDB_PATH can't be made: {error.strerror}."
        raise SettingsError(said, "Set DUCKDB_PATH to a path you may write.") from error
    return settings


def databricks_of(settings: Settings) -> DatabricksSettings:
    """The Databricks settings; raises SettingsError where there are none, or not all."""
    if settings.databricks is None:
        raise SettingsError(_NO_DATABRICKS)
    return settings.databricks


def _values() -> dict[str, str]:
    """What is set, by variable: in the environment, else in `.env`; an empty value counts as none.

    Before it reads config.py, SQLMesh lets `.env` win over the environment. What the process was started with wins here
    all the same, so that every command goes by one rule. (Where the system does not tell, as macOS, `.env` wins in
    commands of SQLMesh's own.)
    """
    set_now: dict[str, str | None] = dict(os.environ)
    if "PYTHON_DOTENV_DISABLED" not in set_now:
        in_file = dotenv_values(PROJECT_ROOT / ".env")
        overridden = {name for name, text in in_file.items() if set_now.get(name) == text}
        set_now = in_file | set_now | {name: text for name, text in _started_with().items() if name in overridden}
    return {name: text.strip() for name, text in set_now.items() if text and text.strip()}


def _started_with() -> dict[str, str]:
    try:
        pairs = Path("/proc/self/environ").read_bytes().split(b"\0")
    except OSError:
        return {}
    return {os.fsdecode(name): os.fsdecode(text) for name, _, text in (pair.partition(b"=") for pair in pairs)}
