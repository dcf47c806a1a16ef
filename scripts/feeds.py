"""The feeds, as `feeds/` declares them: a file each, in the shape of the Open Data Contract Standard 3.1.

Read of a contract are, of its one `schema`, `name` (of the feed, and of its change log `landing.<name>`) and
`physicalName` (of the file); of each of the `properties` `name` (of the column in the change log), `physicalName` (in
the header, exactly as sent), `logicalType` (`number` holds an amount; all is kept as text), `required` (a file may lack
a column that is not, whose fields are empty then), `primaryKey` (the column that identifies a row), `description` and
`logicalTypeOptions.pattern` (a regular expression that the whole value has to match, white space around it aside).
What the standard has no word for is in `customProperties`, of the schema (`FileFormat`) and of a column
(`ColumnOptions`). The rest is for people and other tools.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import duckdb
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from scripts.errors import SettingsError, first_line

FOLDER = Path(__file__).resolve().parent.parent / "feeds"

_Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*(_[a-z0-9]+)*$")]
_Position = Annotated[int, Field(ge=1)]


def _by_name(listed: Any) -> Any:
    """`customProperties` as a mapping: the standard lists them, each with `property` and `value`."""
    try:
        return {one["property"]: one["value"] for one in listed}
    except (TypeError, KeyError):
        raise ValueError("a list of entries with `property` and `value` is needed") from None


_BY_NAME = BeforeValidator(_by_name)


class _Declared(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel)


class ControlRecord(_Declared):
    """The last record of a file, which says what the file holds, known by its first field, the `marker`. Positions of
    its fields count from 1: that of the number of data records (without header and control record), and that of the sum
    of the column `sum_of`, written as the amounts are."""

    marker: str = Field(min_length=1)
    record_count: _Position
    sum: _Position | None = None
    sum_of: str | None = None


class FileFormat(_Declared):
    """How the file is written, where that differs from CSV as RFC 4180 has it; '' and None stand for none. `escape`
    takes away the meaning of a quote, a delimiter or itself behind it; `encoding` is as FEED_ENCODING has it, which
    holds for feeds that declare none; the separators are those of amounts, which may leave out that of thousands."""

    delimiter: Literal[",", ";", "\t", "|"] = ","
    escape: Literal["", "\\"] = ""
    encoding: Literal["", "utf-8", "utf-16", "cp1252", "latin-1"] = ""
    decimal_separator: Literal[".", ","] = "."
    thousands_separator: Literal["", ".", ",", " ", "'"] = ""
    control_record: ControlRecord | None = None

    @property
    def separators(self) -> tuple[str, str]:
        """Of amounts: that of decimals, that of thousands."""
        return self.decimal_separator, self.thousands_separator


class ColumnOptions(_Declared):
    """What is declared of a column that the standard has no word for: its text is part of `history` (of snapshots,
    events, and what the marts choose of it); leading zeros of an id are kept (for the rules of validity to judge),
    taken off, or a reason to reject the line; an amount with exactly three decimals is meant (without a word it is a
    warning, for 15.000 is fifteen thousand in half of Europe)."""

    history: bool = False
    leading_zeros: Literal["keep", "strip", "refuse"] = "keep"
    three_decimals: bool = False


class _TypeOptions(BaseModel):
    model_config = ConfigDict(frozen=True)

    pattern: str | None = None


class Column(_Declared):
    """A column of a feed."""

    name: _Name
    header: str = Field(alias="physicalName", min_length=1)
    type: Literal["string", "number"] = Field(alias="logicalType")
    description: str = Field(min_length=1)
    is_required: bool = Field(alias="required")
    is_key: bool = Field(alias="primaryKey", default=False)
    type_options: _TypeOptions = Field(alias="logicalTypeOptions", default=_TypeOptions())
    options: Annotated[ColumnOptions, _BY_NAME] = Field(alias="customProperties", default=ColumnOptions())


class Feed(BaseModel):
    """One CSV extract, as its contract declares it; `declared` are its columns, in the order sent."""

    model_config = ConfigDict(frozen=True)

    name: _Name
    file_name: str = Field(alias="physicalName", min_length=1)
    declared: tuple[Column, ...] = Field(alias="properties", min_length=1)
    format: Annotated[FileFormat, _BY_NAME] = Field(alias="customProperties", default=FileFormat())

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
    def amounts(self) -> tuple[str, ...]:
        """Those of `columns` that hold amounts."""
        return tuple(column.name for column in self.declared if column.type == "number")

    def reading(self, encoding: str) -> str:
        """How a file is read: the encoding (`encoding` where the contract has none), and what the contract says of it
        that is not as usual."""
        said = self.format.model_dump(by_alias=True, exclude_defaults=True)
        encoding = said.pop("encoding", encoding)
        for column in self.declared:
            if column.type_options.pattern or column.options.leading_zeros != "keep":
                said[column.name] = [column.type_options.pattern, column.options.leading_zeros]
        return f"{encoding} {json.dumps(said)}" if said else encoding

    @property
    def attributes(self) -> tuple[Column, ...]:
        """The columns that history takes over as text."""
        return tuple(column for column in self.declared if column.options.history)

    @property
    def stripped(self) -> tuple[str, ...]:
        """Those of `columns` whose leading zeros are taken off."""
        return tuple(column.name for column in self.declared if column.options.leading_zeros == "strip")

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


class _Contract(BaseModel):
    kind: Literal["DataContract"]
    feeds: tuple[Feed] = Field(alias="schema")


def read_feeds(folder: Path) -> tuple[Feed, ...]:
    """The feeds that a folder declares, in the order of their files' names. Raises SettingsError for a contract that
    can't be read, or does not fit itself or another."""
    feeds = tuple(sorted(map(_read_contract, sorted(folder.glob("*.yaml"))), key=lambda feed: feed.file_name))
    if not feeds:
        raise SettingsError(f"{folder} declares no feed.")
    for name, count in Counter(column.name for feed in feeds for column in feed.attributes).items():
        if count > 1:
            raise SettingsError(f"{folder}: two feeds have a column {name} with `history`: rename one of them.")
    return feeds


def _read_contract(path: Path) -> Feed:
    place = f"feeds/{path.name}"
    try:
        (feed,) = _Contract.model_validate(YAML(typ="safe").load(path)).feeds
    except ValidationError as error:
        breaches = [f"{place}: {'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        raise SettingsError("\n".join(breaches)) from None
    except YAMLError as error:
        raise SettingsError(f"{place} is no YAML: {error}") from None
    if feed.name != path.stem:
        raise SettingsError(f"{place} declares the feed {feed.name}: name the file {feed.name}.yaml.")
    for fault in _faults(feed):
        raise SettingsError(f"{place}: {fault}")
    return feed


def _faults(feed: Feed) -> Iterator[str]:
    """What of a contract does not fit the rest of it, or an engine."""
    if [column.is_required for column in feed.declared if column.is_key] != [True]:
        yield "one column is the primaryKey, and that one is required."
    control = feed.format.control_record
    if control and (control.sum is None) != (control.sum_of is None):
        yield "a controlRecord has sum and sumOf, or neither."
    if control and control.sum_of and control.sum_of not in feed.amounts:
        yield f"the controlRecord's sumOf, {control.sum_of}, is no column of type number."
    if feed.format.decimal_separator == feed.format.thousands_separator:
        yield f"decimalSeparator and thousandsSeparator are both {feed.format.decimal_separator}."
    for column in feed.declared:
        try:
            duckdb.execute("SELECT regexp_full_match('', $1)", [column.type_options.pattern or ""])
        except duckdb.Error as error:
            yield f"the pattern of {column.name}: {first_line(error)}"
    words = duckdb.sql("SELECT keyword_name FROM duckdb_keywords() WHERE keyword_category = 'reserved'").fetchall()
    names = Counter([*feed.model_copy(update={"declared": ()}).change_log, *feed.columns])
    for name in feed.columns:
        if (name,) in words:
            yield f"{name} is a word of SQL: give the column another name."
        if names[name] > 1:
            yield f"there is another column {name}."
    if len(set(map(str.casefold, feed.header))) < len(feed.header):
        yield "two columns have the same name in the header."


FEEDS = read_feeds(FOLDER)
CUSTOMER, ACCOUNT = (next(feed for feed in FEEDS if feed.name == name) for name in ("customer", "account"))
