"""Upgrade Airflow and MLflow: rehearse on a copy, switch, return."""
