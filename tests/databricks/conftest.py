"""Makes the rehearsal server available to the tests of this folder."""

from tests.databricks.fixture import databricks_server

__all__ = ["databricks_server"]
