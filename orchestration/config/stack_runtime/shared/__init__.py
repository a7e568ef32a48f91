"""What Airflow's and MLflow's sides have in common."""
