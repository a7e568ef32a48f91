"""Run Airflow's real dag-processor on a folder, patched as in the services."""

import contextlib
import importlib
import json
import time
from pathlib import Path

from tests.runtime.airflow import database
from tests.runtime.airflow.supervised import runtime

BUNDLE = "dags-folder"


class Finished(Exception):
    """Ends the loop of the dag-processor."""


class DagProcessor:
    """A dag-processor on the files of a folder."""

    def __init__(self, folder: Path, monkeypatch, **options) -> None:
        local = "airflow.dag_processing.bundles.local.LocalDagBundle"
        kwargs = {"path": str(folder), "refresh_interval": 0}
        bundles = [{"name": BUNDLE, "classpath": local, "kwargs": kwargs}]
        for name, value in {
            "DAG_BUNDLE_CONFIG_LIST": json.dumps(bundles),
            "MIN_FILE_PROCESS_INTERVAL": "120",
            "PARSING_PROCESSES": "1",
            "BUNDLE_REFRESH_CHECK_INTERVAL": "0",
        }.items():
            monkeypatch.setenv(f"AIRFLOW__DAG_PROCESSOR__{name}", value)
        importlib.import_module("airflow.configuration")
        runtime("airflow.cluster_policy")
        # Without PostgreSQL, each pause lasts its full time.
        monkeypatch.setattr(runtime("airflow.patches.wake_ups"), "FILES_SECONDS", 0.2)
        database.create()
        manager = importlib.import_module("airflow.dag_processing.manager")
        bundles_manager = manager.DagBundlesManager()
        bundles_manager.sync_bundles_to_db()
        self.manager = manager.DagFileProcessorManager(max_runs=-1, **options)
        self.manager._dag_bundles = list(bundles_manager.get_all_dag_bundles())

    def run_until(self, condition, seconds=60) -> None:
        """Run the dag-processor until a condition is true, which is checked in each round."""
        deadline = time.monotonic() + seconds

        def check():
            if condition():
                raise Finished
            assert time.monotonic() < deadline

        self.manager.heartbeat = check
        with contextlib.suppress(Finished):
            self.manager._run_parsing_loop()

    def stop(self) -> None:
        """End the processes that still run."""
        self.manager.terminate()
        self.manager.end()

    def stat(self, name: str):
        """Return the statistics of a file."""
        info = importlib.import_module("airflow.dag_processing.manager").DagFileInfo
        return self.manager._file_stats[info(rel_path=Path(name), bundle_name=BUNDLE)]


def dag(dag_id: str):
    """Return the row of a DAG, or None."""
    from airflow.models.dag import DagModel
    from airflow.utils.session import create_session

    with create_session() as session:
        return session.get(DagModel, dag_id)


def dag_callback(file: str, dag_id: str, run_id: str = "r", *, failure: bool = True):
    """Return the request for a callback of a DAG."""
    from airflow.callbacks.callback_requests import DagCallbackRequest

    return DagCallbackRequest(
        filepath=file, dag_id=dag_id, run_id=run_id, bundle_name=BUNDLE, bundle_version=None,
        is_failure_callback=failure, msg="task_failure",
    )  # fmt: skip


def request(callback) -> None:
    """Send a request to the dag-processor, as the scheduler does."""
    from airflow.callbacks.database_callback_sink import DatabaseCallbackSink

    DatabaseCallbackSink().send(callback)
