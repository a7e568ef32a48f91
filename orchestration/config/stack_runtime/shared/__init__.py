"""Modules that the services of Airflow and MLflow share."""
