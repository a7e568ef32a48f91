"""Tasks in virtual environments, programs that are called by name, and the parts of a plugin.

The plugin is tests/e2e/plugins/surroundings_plugin.py.
"""

import os
from datetime import datetime
from pathlib import Path

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import dag, task
from surroundings_plugin import AtOnce

OPTIONS = {
    # No other run has this date, which is part of the run's ID.
    "start_date": datetime(2025, 3, 4, 5, 6),
    "is_paused_upon_creation": False,
    "tags": ["test"],
    "default_args": {"retries": 0},
}
APART = Path(os.environ.get("DATA_DIR", "/opt/airflow/data"), "apart")
PROGRAMS = [
    "python -c 'import mlflow, pandas'",
    "python3 -c 'import mlflow, pandas'",
    # A task may not use Airflow's database, so no command of it works.
    "command -v airflow",
    "mlflow --version",
]


@dag(schedule=None, **OPTIONS)
def surroundings():
    @task.virtualenv(requirements=["emoji"], system_site_packages=False)
    def alone():
        import importlib.util

        import emoji

        assert emoji.is_emoji("\u2b50")
        assert importlib.util.find_spec("pandas") is None

    @task.virtualenv(requirements=["emoji"])
    def with_airflow(run_id=None, data_interval_end=None):
        import airflow
        import emoji
        import pandas

        assert run_id
        return [airflow.__version__, emoji.__version__, pandas.__version__]

    @task.external_python(python=str(APART / "bin/python"), expect_airflow=False)
    def apart():
        import sys

        import emoji

        assert emoji.__file__.startswith(sys.prefix)

    create = BashOperator(
        task_id="create",
        bash_command=f"uv venv --quiet --clear {APART}"
        f" && uv pip install --quiet --python={APART} emoji",
    )
    alone()
    with_airflow()
    create >> apart()
    BashOperator.partial(task_id="program").expand(bash_command=PROGRAMS)
    BashOperator(
        task_id="macro", bash_command="[ {{ macros.surroundings.upper('macro') }} = MACRO ]"
    )


@dag(schedule=AtOnce(), **OPTIONS)
def planned():
    @task
    def work(): ...

    work()


surroundings()
planned()
