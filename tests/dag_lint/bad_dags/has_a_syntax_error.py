from airflow.sdk import DAG

with DAG("broken"  # finds: syntax
    pass
