"""Volumes: files that clients put, get and remove over HTTP, and the statements that say so."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from tests.databricks.server.engine import EngineError, Result, Session
from tests.databricks.server.faults import Faults
from tests.databricks.server.rewrites import Word

HOST = "volumes.databricks.test"
PATH = re.compile(r"/Volumes(/\w+){3}(/[^/]+)*/?")


@dataclass(frozen=True)
class Transfer:
    """What a presigned URL allows: one method for one file."""

    method: str
    file: Path


class Volumes:
    """The volumes of the rehearsal, kept under a folder as `<catalog>/<schema>/<volume>/...`."""

    def __init__(self, folder: Path, faults: Faults) -> None:
        self._folder, self._faults = folder, faults
        self.transfers: dict[str, Transfer] = {}

    def local_path(self, path: str) -> str:
        """Where `/Volumes/<catalog>/<schema>/<volume>/...` is on this machine; EngineError if there is no volume."""
        if not PATH.fullmatch(path) or ".." in path:
            raise EngineError(f"[INVALID_PATH] '{path}' is not /Volumes/catalog/schema/volume/path.", "22023")
        volume = self._folder.joinpath(*path.split("/")[2:5])
        if not volume.is_dir():
            raise EngineError(f"[VOLUME_NOT_FOUND] The volume of '{path}' does not exist.", "42704")
        return str(self._folder / path.removeprefix("/Volumes/").rstrip("/"))

    def answer(self, parts: list[Word], session: Session) -> tuple[str, Result] | None:
        """Answer a statement about volumes and their files: kind of rewrite and result; None when it is another one."""
        match [word.key if word.text[0] != "'" else "?" for word in parts]:
            case ["PUT", "?", "INTO", "?", *rest] if rest in ([], ["OVERWRITE"]):
                path = self.local_path(parts[3].bare)
                if not rest and Path(path).exists():
                    raise EngineError(f"[FILE_ALREADY_EXISTS] '{parts[3].bare}' exists; PUT ... OVERWRITE.", "42K0N")
                return "volume_path", self._transfer("PUT", path, parts[1].bare)
            case ["GET", "?", "TO", "?"]:
                return "volume_path", self._transfer("GET", self.local_path(parts[1].bare), parts[3].bare)
            case ["REMOVE", "?"]:
                return "volume_path", self._transfer("REMOVE", self.local_path(parts[1].bare), None)
            case ["LIST", "?"]:
                return "volume_path", self._list(parts[1].bare)
            case ["CREATE", "VOLUME", "IF", "NOT", "EXISTS", *_]:
                return "create_volume", self._create([word.bare for word in parts[5:]], session, exist_ok=True)
            case ["CREATE", "VOLUME", *_]:
                return "create_volume", self._create([word.bare for word in parts[2:]], session, exist_ok=False)
        return None

    def _create(self, name: list[str], session: Session, exist_ok: bool) -> Result:
        catalog, schema = session.spark.catalog.currentCatalog(), session.spark.catalog.currentDatabase()
        if "COMMENT" in name[-2:-1]:
            name = name[:-2]
        match name:
            case [volume]:
                pass
            case [schema, ".", volume]:
                pass
            case [catalog, ".", schema, ".", volume]:
                pass
            case _:
                raise EngineError(f"[PARSE_SYNTAX_ERROR] '{' '.join(name)}' is not a name of a volume.", "42601")
        if not session.spark.catalog.databaseExists(f"`{catalog}`.`{schema}`"):
            raise EngineError(f"[SCHEMA_NOT_FOUND] The schema `{catalog}`.`{schema}` cannot be found.", "42704")
        folder = self._folder / catalog / schema / volume
        if folder.exists() and not exist_ok:
            raise EngineError(f"[VOLUME_ALREADY_EXISTS] `{catalog}`.`{schema}`.`{volume}` exists.", "42P07")
        folder.mkdir(parents=True, exist_ok=True)
        return Result.of_rows({})

    def _transfer(self, operation: str, path: str, local_file: str | None) -> Result:
        token = secrets.token_hex(16)
        self.transfers[token] = Transfer({"REMOVE": "DELETE"}.get(operation, operation), Path(path))
        url = f"https://{HOST}/{token}"
        row = {"operation": operation, "localFile": local_file, "presignedUrl": url, "headers": "{}"}
        return Result.of_rows({name: [value] for name, value in row.items()}, staging=True)

    def _list(self, path: str) -> Result:
        folder = Path(self.local_path(path))
        if not folder.is_dir():
            raise EngineError(f"[PATH_NOT_FOUND] Path does not exist: {path}.", "42K03")
        files = sorted(folder.iterdir())
        names = [file.name + "/" * (file.is_dir() and not self._faults.bare_folders) for file in files]
        return Result.of_rows(
            {
                "path": [f"{path.rstrip('/')}/{name}" for name in names],
                "name": names,
                "size": [0 if file.is_dir() else file.stat().st_size for file in files],
                "modification_time": [int(file.stat().st_mtime * 1000) for file in files],
            }
        )
