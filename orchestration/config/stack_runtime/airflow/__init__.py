"""Airflow's side: init job, start of a service, cluster policy, task logs, clean-up, patches."""
