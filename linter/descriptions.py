"""Rules about what a model says of itself (docs/design.md, "Names")."""

from __future__ import annotations

import re

from sqlmesh.core.linter.rule import Rule, RuleViolation
from sqlmesh.core.model import ExternalModel, Model

from scripts.outputs.marts import EXPORT_TAG

GRAIN_STATEMENT = re.compile(r"\bOne row per \w.*?\.(\s|$)", re.DOTALL)


class GrainStated(Rule):
    """A model's description says what one of its rows is; the header of an exported mart does so, too.

    Reason to flag: who counts or joins rows without knowing the grain counts or joins wrongly, and the files of an
    exported mart are sorted by it.
    How to remedy: begin the file with a comment that holds a sentence "One row per ... ." with its full stop, and set
    `grain` in the header.
    """

    def check_model(self, model: Model) -> list[RuleViolation]:
        violations = []
        if not isinstance(model, ExternalModel) and not GRAIN_STATEMENT.search(model.description or ""):
            violations.append(
                self.violation(
                    f"Model {model.name}: its description does not state the grain. Add a sentence 'One row per ... .' "
                    "to the comment above MODEL."
                )
            )
        if EXPORT_TAG in model.tags and not model.grains:
            violations.append(
                self.violation(
                    f"Model {model.name} is tagged `{EXPORT_TAG}` and has no `grain` in its header: the rows of its "
                    "files would be in no order. Name the columns there that are unique together."
                )
            )
        return violations


class OwnedAndTagged(Rule):
    """A model has an owner and tags.

    Reason to flag: a failed audit needs somebody to turn to, and exports and selections go by tag.
    How to remedy: set `tags (layer, subject)` in the header, and `owner` there or in the defaults of config.py.
    """

    def check_model(self, model: Model) -> list[RuleViolation]:
        if isinstance(model, ExternalModel):
            return []
        violations = []
        if not model.owner:
            violations.append(self.violation(f"Model {model.name} has no owner. Set `owner` in its header."))
        if not model.tags:
            violations.append(
                self.violation(f"Model {model.name} has no tags. Set `tags (layer, subject)` in its header.")
            )
        return violations


class ColumnsDescribed(Rule):
    """Every column has a description.

    Reason to flag: descriptions reach the warehouse's catalog, and there they are all that a reader has.
    How to remedy: add a comment after the column's projection, on the same line (`column_descriptions` for a seed).
    """

    def check_model(self, model: Model) -> list[RuleViolation]:
        if isinstance(model, ExternalModel):
            return []
        # The materialization adds the managed ones; a query cannot describe them.
        columns = [column for column in model.columns_to_types or {} if column not in model.managed_columns]
        described = model.column_descriptions or {}
        return [
            self.violation(
                f"Model {model.name}: column '{column}' has no description. Add a comment after its projection."
            )
            for column in columns
            if not described.get(column, "").strip()
        ]
