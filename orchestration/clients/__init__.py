"""Clients of the services: HTTP, Airflow, MLflow accounts, PostgreSQL, S3, status page."""
