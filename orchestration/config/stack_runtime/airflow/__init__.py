"""Code for Airflow: init job, service start, cluster policy, task logs, clean-up, patches."""
