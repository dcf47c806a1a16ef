"""What the strategies of this folder share: a window's rows come in by one MERGE; a table built anew is replaced."""

from __future__ import annotations

import typing as t
from abc import abstractmethod

from sqlglot import exp
from sqlmesh.core.engine_adapter.base import EngineAdapter
from sqlmesh.core.model import Model
from sqlmesh.core.model.meta import GrantsTargetLayer
from sqlmesh.core.snapshot import evaluator


class OneMergeStrategy(evaluator.IncrementalStrategy):
    """Keeps a table by one atomic statement that is safe to repeat."""

    adapter: EngineAdapter

    @abstractmethod
    def rows(self, model: Model, columns: t.Iterable[str], incoming: exp.Query) -> exp.Query:
        """What a table with these columns holds that is made of the incoming rows alone."""

    @abstractmethod
    def merge(self, model: Model, columns: t.Iterable[str], incoming: exp.Query, table: str) -> exp.Expr:
        """The statement that takes the incoming rows into a table with these columns."""

    def insert(
        self,
        table_name: str,
        query_or_df: t.Any,
        model: Model,
        is_first_insert: bool,
        render_kwargs: dict[str, t.Any],
        **kwargs: t.Any,
    ) -> None:
        """Takes in the rows of the run's window; the first time, or when all is restated, replaces the table."""
        columns, _ = self._get_target_and_source_columns(
            model, table_name, render_kwargs=render_kwargs, force_get_columns_from_target=model.kind.is_scd_type_2
        )
        if is_first_insert:
            rows = self.rows(model, columns, query_or_df)
            self._replace_query_for_model(model, table_name, rows, render_kwargs, **kwargs)
            return
        self.adapter.execute(self.merge(model, columns, query_or_df, table_name), track_rows_processed=True)
        is_deployable = kwargs.get("is_snapshot_deployable", False)
        self._apply_grants(model, table_name, GrantsTargetLayer.PHYSICAL, is_deployable)


def quoted(name: str) -> str:
    return exp.to_identifier(name, quoted=True).sql(dialect="duckdb")
