"""The pipeline on a local stand-in for Databricks: its wire protocol in front of real Spark and Delta Lake."""
