"""Check DAG files by their source, then by parsing them with Airflow itself."""
