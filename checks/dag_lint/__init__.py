"""DAG files: what can be read off the source, then the truth from Airflow itself."""
