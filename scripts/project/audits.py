"""Which of prod's models an audit is of, and by which of their audits."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable

from sqlmesh.core.snapshot import Snapshot

from scripts.errors import WrongUsageError
from scripts.project.console import model_name
from scripts.results import LAYERS


def chosen(snapshots: Iterable[Snapshot], models: Collection[str], audits: Collection[str]) -> list[Snapshot]:
    """The snapshots that have audits, in the order of the layers: all of them with all audits, or those that are named.

    Raises:
        WrongUsageError: There is no such model, or no such audit of these models.
    """
    by_model = {model_name(snapshot): snapshot for snapshot in snapshots if audit_names(snapshot)}
    _check_known(models, by_model, "model with audits")
    wanted = sorted(models or by_model, key=lambda name: (LAYERS.index(name.split(".")[0]), name))
    of_models = [by_model[name] for name in dict.fromkeys(wanted)]
    if not audits:
        return of_models
    where = f"audit of {', '.join(wanted)}" if models else "audit"
    _check_known(audits, {name for snapshot in of_models for name in audit_names(snapshot)}, where)
    return [_narrowed(snapshot, audits) for snapshot in of_models if audit_names(snapshot) & set(audits)]


def audit_names(snapshot: Snapshot) -> set[str]:
    """The kinds of audits that a model has: `not_null`, `scd2_no_overlap`."""
    return {audit.name for audit, _ in snapshot.node.audits_with_args} if snapshot.is_model else set()


def _narrowed(snapshot: Snapshot, audits: Collection[str]) -> Snapshot:
    """The snapshot with these audits only: SQLMesh runs all audits of the one that it is given."""
    model = snapshot.model
    narrowed = {
        "audits": [(name, arguments) for name, arguments in model.audits if name in audits],
        "audit_definitions": {name: audit for name, audit in model.audit_definitions.items() if name in audits},
    }
    return snapshot.copy(update={"node": model.copy(update=narrowed)})


def _check_known(names: Collection[str], known: Iterable[str], what: str) -> None:
    known = sorted(known)
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=3)
            hint = f"Is it {' or '.join(close)}?" if close else f"There are {', '.join(known)}."
            raise WrongUsageError(f"There is no {what} named '{name}'. {hint}")
