"""The feeds, as `feeds/` declares them: a file each, in the shape of the Open Data Contract Standard 3.1.

Read of a contract are, of its one `schema`, `name` (of the feed, and of its change log `landing.<name>`) and
`physicalName` (of the file); of each of the `properties` `name` (of the column in the change log), `physicalName` (in
the header, exactly as sent), `logicalType` (`number` holds an amount; all is kept as text), `required` (a file may lack
a column that is not, whose fields are empty then), `primaryKey` (the column that identifies a row) and `description`.
The rest is for people and other tools.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from scripts.errors import SettingsError

FOLDER = Path(__file__).resolve().parent.parent / "feeds"

_Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*(_[a-z0-9]+)*$")]


class Column(BaseModel):
    """A column of a feed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: _Name
    header: str = Field(alias="physicalName", min_length=1)
    type: Literal["string", "number"] = Field(alias="logicalType")
    description: str = Field(min_length=1)
    is_required: bool = Field(alias="required")
    is_key: bool = Field(alias="primaryKey", default=False)


class _Schema(BaseModel):
    name: _Name
    file_name: str = Field(alias="physicalName", min_length=1)
    properties: tuple[Column, ...] = Field(min_length=1)


class _Contract(BaseModel):
    kind: Literal["DataContract"]
    tables: tuple[_Schema] = Field(alias="schema")


@dataclass(frozen=True)
class Feed:
    """One CSV extract.

    Attributes:
        name: Name of the feed; also of its change log (`landing.<name>`).
        file_name: File in the inputs folder.
        declared: Its columns, in the order sent.
    """

    name: str
    file_name: str
    declared: tuple[Column, ...]

    @property
    def header(self) -> tuple[str, ...]:
        """Column names in the file, exactly as sent."""
        return tuple(column.header for column in self.declared)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the same columns in `landing`, in the same order."""
        return tuple(column.name for column in self.declared)

    @property
    def descriptions(self) -> tuple[str, ...]:
        """What each of `columns` holds."""
        return tuple(column.description for column in self.declared)

    @property
    def optional(self) -> tuple[str, ...]:
        """Those of `columns` that a file may lack."""
        return tuple(column.name for column in self.declared if not column.is_required)

    @property
    def amounts(self) -> tuple[str, ...]:
        """Those of `columns` that hold amounts."""
        return tuple(column.name for column in self.declared if column.type == "number")

    @property
    def key(self) -> str:
        """The column of `columns` that identifies a row."""
        return next(column.name for column in self.declared if column.is_key)

    @property
    def key_column(self) -> str:
        """Column of the change log that holds the trimmed key as text."""
        return f"{self.name}_key"

    @property
    def change_log(self) -> dict[str, str]:
        """Columns of the change log, with their types in DuckDB's dialect."""
        return {
            "loaded_at": "TIMESTAMP",
            "change_type": "VARCHAR",
            self.key_column: "VARCHAR",
            "rows_for_key_count": "BIGINT",
            **dict.fromkeys(self.columns, "VARCHAR"),
        }


def read_feeds(folder: Path) -> tuple[Feed, ...]:
    """The feeds that a folder declares, in the order of their files' names.

    Raises:
        SettingsError: A contract can't be read, or does not fit itself or another.
    """
    feeds = tuple(sorted(map(_read_contract, sorted(folder.glob("*.yaml"))), key=lambda feed: feed.file_name))
    if not feeds:
        raise SettingsError(f"{folder} declares no feed.")
    return feeds


def _read_contract(path: Path) -> Feed:
    place = f"feeds/{path.name}"
    try:
        contract = _Contract.model_validate(YAML(typ="safe").load(path))
    except ValidationError as error:
        raise SettingsError("\n".join(f"{place}: {_breach(one)}" for one in error.errors())) from None
    except YAMLError as error:
        raise SettingsError(f"{place} is no YAML: {error}") from None
    (table,) = contract.tables
    _check(place, table, path.stem)
    return Feed(table.name, table.file_name, table.properties)


def _breach(error: Any) -> str:
    return f"{'.'.join(map(str, error['loc']))}: {error['msg']}"


def _check(place: str, table: _Schema, stem: str) -> None:
    keys = [column for column in table.properties if column.is_key]
    if table.name != stem:
        raise SettingsError(f"{place} declares the feed {table.name}: name the file {table.name}.yaml.")
    if len(keys) != 1 or not keys[0].is_required:
        raise SettingsError(f"{place}: one column is the primaryKey, and that one is required.")
    reserved = Feed(table.name, table.file_name, ()).change_log
    names = [column.name for column in table.properties]
    headers = [column.header.casefold() for column in table.properties]
    for name in names:
        if names.count(name) > 1 or name in reserved:
            raise SettingsError(f"{place}: there is another column {name}.")
    if len(set(headers)) < len(headers):
        raise SettingsError(f"{place}: two columns have the same name in the header.")


FEEDS = read_feeds(FOLDER)
CUSTOMER, ACCOUNT = (next(feed for feed in FEEDS if feed.name == name) for name in ("customer", "account"))
