from datetime import datetime

from airflow.sdk import DAG, task

SHARED = ["emoji==2.14", "git+https://example.com/tool.git"]  # finds: invalid-requirement

with DAG(
    "has_an_invalid_requirement",
    schedule=None,
    start_date=datetime(2025, 1, 1),
    default_args={"owner": "team", "retries": 1},
    tags=["bad"],
):

    @task.virtualenv(requirements=SHARED, system_site_packages=False)
    def one():
        return 1

    # Without isolation, Airflow does not read the requirements.
    @task.virtualenv(requirements=["--pre", "emoji"])
    def two():
        return 2

    one()
    two()
