"""SQLMesh's configuration: one project, two gateways. What differs between installations is in scripts/settings.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlmesh.core.config import Config

from scripts.clock import FIRST_LOAD_AT
from scripts.feeds import FEEDS
from scripts.settings import DatabricksSettings, Settings, load_settings
from scripts.warehouse.duckdb import CATALOG


def duckdb_file(catalog: str, path: Path) -> dict[str, Any]:
    """A DuckDB file, under one name whatever the file's: views name their catalog."""
    # SQLMesh puts the values into SQL as they stand.
    attached = str(path).replace("'", "''")
    return {
        "type": "duckdb",
        "catalogs": {catalog: attached},
        "connector_config": {"temp_directory": f"{attached}.tmp"},
    }


def postgres(settings: Settings) -> dict[str, Any]:
    return {
        "type": "postgres",
        "host": settings.state_host,
        "port": settings.state_port,
        "database": settings.state_database,
        "user": settings.state_user,
        "password": settings.state_password,
    }


def databricks(target: DatabricksSettings) -> dict[str, Any]:
    let_in: dict[str, Any] = {"access_token": target.token}
    if not target.token:
        let_in = {"auth_type": "databricks-oauth"}
        if target.client_id:
            let_in |= {"oauth_client_id": target.client_id, "oauth_client_secret": target.client_secret}
    return {
        "type": "databricks",
        "server_hostname": target.host,
        "http_path": target.http_path,
        "catalog": target.catalog,
        **let_in,
        "disable_databricks_connect": True,
        "disable_spark_session": True,
        "session_configuration": {"timezone": "UTC"},
    }


def feed_variables() -> dict[str, Any]:
    feeds = [{"feed": f.name, "columns": list(f.columns), "descriptions": list(f.descriptions)} for f in FEEDS]
    of_feeds: dict[str, Any] = {}
    for feed in FEEDS:
        of_feeds |= {
            f"{feed.name}_columns": list(feed.columns),
            f"{feed.name}_descriptions": list(feed.descriptions),
            f"{feed.name}_attributes": [column.name for column in feed.attributes],
            f"{feed.name}_attribute_descriptions": [column.description for column in feed.attributes],
            f"{feed.name}_stripped": list(feed.stripped),
            f"{feed.name}_separators": list(feed.format.separators),
        }
    return {"feeds": feeds, **of_feeds}


def gateways(settings: Settings) -> dict[str, Any]:
    state = {"state_connection": postgres(settings)} if settings.state_host else {}
    found = {"duckdb": {"connection": duckdb_file(CATALOG, settings.duckdb_path), **state}}
    if settings.databricks:
        beside = {"state_connection": duckdb_file(f"{CATALOG}_state", settings.databricks_state_file)}
        found["databricks"] = {"connection": databricks(settings.databricks), **(state or beside)}
    return found


_settings = load_settings()

config = Config.model_validate(
    {
        "project": "lending_club",
        "default_gateway": _settings.gateway,
        "gateways": gateways(_settings),
        "model_defaults": {
            "dialect": "duckdb",
            "start": f"{FIRST_LOAD_AT:%Y-%m-%d}",
            "cron": "* * * * *",
            "interval_unit": "hour",
            "allow_partials": True,
            "owner": "data_platform",
            # Without it a forward-only change can't drop a column of a Delta table. DuckDB ignores it; views unset it.
            "physical_properties": {"delta.columnMapping.mode": "name"},
        },
        # For macros/feeds.py. SQLMesh reads a model anew when its configuration changed, but not when a contract did.
        "variables": feed_variables(),
        # The landing zone is not SQLMesh's: it is only made sure of, and never dropped or altered.
        "before_all": ["@create_landing()"],
        "linter": {
            "enabled": True,
            "rules": [
                "ambiguousorinvalidcolumn",
                "invalidselectstarexpansion",
                "noselectstar",
                "nomissingaudits",
                "nomissingexternalmodels",
                "nomissingunittest",
                # The project's own, in linter/.
                "columnsdescribed",
                "declaredtypes",
                "grainstated",
                "layerinname",
                "ownedandtagged",
                "readslayerbefore",
                "seedfitsitstypes",
                "snakecase",
                "suffixmatchestype",
            ],
        },
        "format": {"append_newline": True},
        "plan": {"auto_categorize_changes": {"external": "full", "python": "full", "sql": "full", "seed": "full"}},
        "disable_anonymized_analytics": True,
    }
)
