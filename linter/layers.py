"""Rules about the layers: what a model of each is called, and what it reads (docs/design.md, "The flow", "Names")."""

from __future__ import annotations

from dataclasses import dataclass

from sqlglot import exp
from sqlmesh.core.linter.rule import Rule, RuleViolation
from sqlmesh.core.model import ExternalModel, Model, SqlModel


@dataclass(frozen=True)
class Layer:
    """One layer, that is one schema.

    Attributes:
        prefixes: How the names of its models begin; none where they are plain nouns.
        reads: How the full names of the tables begin that its models may read.
    """

    prefixes: tuple[str, ...]
    reads: tuple[str, ...]


LAYERS = {
    "source": Layer(prefixes=("src_",), reads=("landing.",)),
    "staging": Layer(prefixes=("stg_", "quarantine_", "judged_"), reads=("source.", "staging.judged_")),
    # Not staging.stg_*: behind a view SQLMesh builds all of a branch anew, whatever changed before it.
    "snapshots": Layer(prefixes=("snap_",), reads=("staging.judged_",)),
    "intermediate": Layer(prefixes=("int_",), reads=("snapshots.", "intermediate.")),
    "marts": Layer(prefixes=(), reads=("intermediate.", "marts.", "reference.")),
    "reference": Layer(prefixes=(), reads=("landing.",)),
}
ALL_PREFIXES = tuple(prefix for layer in LAYERS.values() for prefix in layer.prefixes)


def _any_of(beginnings: tuple[str, ...]) -> str:
    return " or ".join(f"{beginning}*" for beginning in beginnings)


class LayerInName(Rule):
    """A model's name says its layer.

    Reason to flag: who sees a table's name must know how far its rows can be trusted, and where its file is.
    How to remedy: name it by its layer (source.src_, staging.stg_, quarantine_ or judged_, snapshots.snap_,
    intermediate.int_; marts and reference by noun, without such a prefix), or move it to the layer that its name says.
    """

    def check_model(self, model: Model) -> RuleViolation | None:
        if isinstance(model, ExternalModel):
            return None
        schema, name = model.schema_name, model.view_name
        layer = LAYERS.get(schema)
        if layer is None:
            return self.violation(
                f"Model {model.name}: '{schema}' is no layer. Move the model to one of {', '.join(LAYERS)}."
            )
        if layer.prefixes and not name.startswith(layer.prefixes):
            return self.violation(
                f"Model {model.name}: models of '{schema}' are called {_any_of(layer.prefixes)}. Rename it, or move it "
                "to another layer."
            )
        if not layer.prefixes and name.startswith(ALL_PREFIXES):
            return self.violation(
                f"Model {model.name}: models of '{schema}' are called by a noun. Drop the prefix, or move it to the "
                "layer of that prefix."
            )
        return None


class ReadsLayerBefore(Rule):
    """A model reads only the layer before its own.

    Reason to flag: a query that skips a layer sees rows that no rule, no history or no audit stands before, and runs
    before they do. What audits read (`depends_on`) is free: only the tables of the query itself count.
    How to remedy: read the layer before (landing, source, staging, snapshots, intermediate, marts; staging also its
    judged rows, intermediate and marts also their own layer, marts also reference, which reads landing), or move the
    model.
    """

    def check_model(self, model: Model) -> list[RuleViolation]:
        layer = LAYERS.get(model.schema_name)
        query = model.render_query() if isinstance(model, SqlModel) else None
        if layer is None or query is None:
            return []
        # A name without a schema is a CTE: rendering gives every table its own.
        tables = {f"{table.db}.{table.name}" for table in query.find_all(exp.Table) if table.db}
        return [
            self.violation(
                f"Model {model.name} reads {table}, but models of '{model.schema_name}' read {_any_of(layer.reads)}. "
                "Read the table through that layer, or move the model."
            )
            for table in sorted(tables)
            if not table.startswith(layer.reads)
        ]
