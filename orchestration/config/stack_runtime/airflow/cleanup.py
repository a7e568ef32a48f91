"""List or remove old data of Airflow: `python -m stack_runtime.airflow.cleanup SECONDS [apply]`.

This covers history and archive tables in the database, task logs and the data folders of runs. A
run is old if it finished that long ago. The newest run of each DAG is kept, and so is the run from
which its schedule continues.
"""

import os
import sys
import time
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import psycopg2

from stack_runtime.airflow.old_files import data, logs
from stack_runtime.airflow.old_history import History
from stack_runtime.shared.cleanup_report import run


def main(seconds: int, *, remove: bool) -> None:
    """Print a row for each kind of data. Raises psycopg2.OperationalError without a database."""
    from airflow.configuration import conf

    before = time.time() - seconds
    folder, processor = (
        Path(conf.get("logging", name))
        for name in ("base_log_folder", "dag_processor_child_process_log_directory")
    )
    shared = Path(os.environ.get("DATA_DIR") or "/opt/airflow/data")
    uri = os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]
    history = History(uri, datetime.fromtimestamp(before, UTC))
    with closing(history.connection):
        dags = history.dags()
        # The order matters: the removed runs are known once their rows have been deleted.
        run({
            "Airflow's history": partial(history.clean, remove=remove),
            "Airflow's archive tables": partial(history.archives, remove=remove),
            "task logs": lambda: logs(folder, processor, history.living(), before, remove=remove),
            "data of runs": lambda: data(
                shared, dags, history.living(), history.gone, before, remove=remove
            ),
        })  # fmt: skip


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]), remove=sys.argv[2:] == ["apply"])
    except psycopg2.OperationalError as error:
        sys.exit(f"postgres: {error}")
