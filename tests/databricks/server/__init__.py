"""A local server that speaks Databricks' SQL protocol and runs the statements on Spark with Delta Lake."""
