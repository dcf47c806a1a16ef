"""SQLMesh's console for a run of ours: a line per model, and what failed, kept for the report."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from rich.console import Console
from rich.markup import escape
from sqlmesh.core.console import NoopConsole
from sqlmesh.core.linter.rule import RuleViolation
from sqlmesh.core.model import Model
from sqlmesh.core.plan import Plan, PlanBuilder
from sqlmesh.core.snapshot import Snapshot
from sqlmesh.utils.concurrency import NodeExecutionFailedError
from sqlmesh.utils.errors import NodeAuditsErrors

from scripts.errors import reason
from scripts.results import short_name


class RunConsole(NoopConsole):
    """Prints each model as it ends and keeps outcomes and failures."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.rich_console = console
        # What each model's evaluation took, all windows together, in the order of evaluation.
        self.seconds: defaultdict[str, float] = defaultdict(float)
        # Models that a blocking audit failed on: SQLMesh audits what it has written.
        self.refused: list[str] = []
        # A sentence per failed model, with the failed audits, and per breach of a rule of the linter.
        self.failures: list[str] = []
        # What of these may not be written to files: errors, and texts of unknown origin.
        self.quotes: list[str | BaseException] = []

    def plan(self, plan_builder: PlanBuilder, *args: Any, **kwargs: Any) -> None:
        """Says which models of an environment change, and how, before the plan is applied."""
        for line in _changes(plan_builder.build()):
            self.rich_console.print(f"    {escape(line)}", soft_wrap=True)
        super().plan(plan_builder, *args, **kwargs)

    def update_snapshot_evaluation_progress(
        self,
        snapshot: Snapshot,
        interval: Any,
        batch_idx: int,
        duration_ms: int | None,
        num_audits_passed: int,
        num_audits_failed: int,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        if duration_ms is None:
            return
        name, seconds = model_name(snapshot), duration_ms / 1000
        self.seconds[name] += seconds
        line = f"    {name:<42}{seconds:>7.2f} s"
        line += f"   {num_audits_passed} audits passed" if num_audits_passed or num_audits_failed else ""
        line += f", [yellow]{num_audits_failed} warned[/yellow]" if num_audits_failed else ""
        self.rich_console.print(line, soft_wrap=True)

    def log_failed_models(self, errors: list[NodeExecutionFailedError[Any]]) -> None:
        self.failures.extend(_sentence(error) for error in errors)
        self.refused.extend(_failed_model(error) for error in errors if isinstance(error.__cause__, NodeAuditsErrors))
        self.quotes.extend(error.__cause__ or error for error in errors)

    def show_linter_violations(self, violations: list[RuleViolation], model: Model, is_error: bool = False) -> None:
        for violation in violations:
            sentence = f"{model.name}: rule {violation.rule.name}: {violation.violation_msg}"
            if is_error:
                self.failures.append(sentence)
            else:
                self.log_warning(sentence)

    def log_warning(self, short_message: str, *args: Any, **kwargs: Any) -> None:
        # Failed audits stand behind their model's line and in the report; a first plan is meant to backfill nothing.
        if "audit error" not in short_message and "Skipping the backfill" not in short_message:
            self.rich_console.print(f"    [yellow]{escape(short_message.strip())}[/yellow]", soft_wrap=True)

    def log_error(self, message: str, *args: Any, **kwargs: Any) -> None:
        self.failures.append(reason(message))
        self.quotes.append(self.failures[-1])


def _changes(plan: Plan) -> list[str]:
    """A line for each model that is changed, new or gone; none where the environment is made."""
    diff = plan.context_diff
    if diff.is_new_environment:
        return []
    changed = {
        model_name(new): f"changed: {new.change_category.name.lower().replace('_', ' ')}"
        for new, _ in diff.modified_snapshots.values()
        if new.change_category
    }
    added = {model_name(diff.snapshots[snapshot_id]): "new" for snapshot_id in diff.added}
    removed = {short_name(snapshot_id.name): "gone" for snapshot_id in diff.removed_snapshots}
    return [f"{name:<42}{how}" for name, how in sorted({**changed, **added, **removed}.items())]


def model_name(snapshot: Snapshot) -> str:
    """`layer.model` of a snapshot."""
    return snapshot.model.name if snapshot.is_model else snapshot.name


def _failed_model(error: NodeExecutionFailedError[Any]) -> str:
    node = error.node
    name = getattr(node, "snapshot_name", None) or (node[0] if isinstance(node, tuple) else str(node))
    return short_name(str(name))


def _sentence(error: NodeExecutionFailedError[Any]) -> str:
    model = _failed_model(error)
    cause = error.__cause__
    if isinstance(cause, NodeAuditsErrors):
        return "\n".join(
            f"{model}: blocking audit {audit.audit_name} failed with {audit.count:,} row(s). Query:\n{audit.sql()}"
            for audit in cause.errors
        )
    return f"{model}: {reason(cause or error)}"
