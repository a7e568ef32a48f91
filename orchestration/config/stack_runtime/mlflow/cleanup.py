"""List or remove MLflow's runs that were deleted long ago.

`python -m stack_runtime.mlflow.cleanup SECONDS [apply]`. It calls the code of `mlflow gc`, not the
command. The command takes the store's URL with its password as an argument, and without names it
removes everything that was deleted. The source run of a registered version is kept, even if it was
deleted, because a champion without its run cannot be loaded.
"""

import os
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from stack_runtime.shared.cleanup_report import Row, allocated, count, run

IN_USE = "SELECT run_id FROM model_versions WHERE run_id IS NOT NULL"
MODEL_IN_USE = "EXISTS (SELECT FROM model_versions WHERE source LIKE '%%' || model_id || '%%')"
DELETED = f"lifecycle_stage = 'deleted' AND run_uuid NOT IN ({IN_USE})"
# Removing an experiment removes its models from the database, but not their artifacts.
OLD_EXPERIMENTS = f"""
SELECT experiment_id FROM experiments WHERE lifecycle_stage = 'deleted'
AND last_update_time < %(before)s AND experiment_id NOT IN (SELECT experiment_id FROM runs
  WHERE run_uuid IN ({IN_USE}) OR lifecycle_stage <> 'deleted')
AND experiment_id NOT IN (SELECT experiment_id FROM logged_models
  WHERE {MODEL_IN_USE} OR lifecycle_stage <> 'deleted'
  OR last_updated_timestamp_ms >= %(before)s)
"""
OLD_RUNS = f"""
SELECT run_uuid, artifact_uri FROM runs
WHERE {DELETED} AND (deleted_time < %(before)s OR experiment_id IN ({OLD_EXPERIMENTS}))
"""
OLD_MODELS = f"""
SELECT model_id, artifact_location FROM logged_models
WHERE lifecycle_stage = 'deleted' AND last_updated_timestamp_ms < %(before)s AND NOT {MODEL_IN_USE}
"""


class Store:
    """MLflow's database, and its artifact store if that is a folder."""

    def __init__(self, uri: str, destination: str, before: float) -> None:
        from sqlalchemy import create_engine

        self.uri, self.destination = uri, destination
        self.engine = create_engine(uri)
        self.before = {"before": int(before * 1000)}
        local = urlsplit(destination).scheme in ("", "file")
        self.folder = Path(urlsplit(destination).path) if local else None

    def ask(self, statement: str) -> Sequence[Any]:
        """Run a query and return its rows."""
        with self.engine.connect() as connection:
            rows: Sequence[Any] = connection.exec_driver_sql(statement, self.before).fetchall()
            return rows

    def size(self) -> int:
        """Return the bytes of the database, and of artifacts on this disk."""
        database = int(self.ask("SELECT pg_database_size(current_database())")[0][0])
        return database + (allocated([self.folder]) if self.folder else 0)

    def folders(self, uris: Sequence[str]) -> list[Path]:
        """Return the folders from which the server serves these artifacts."""
        if not self.folder:
            return []
        inside = [urlsplit(uri).path.strip("/") for uri in uris if uri.startswith("mlflow-art")]
        return [self.folder / path for path in inside if path]

    def clean(self, *, remove: bool) -> Row:
        """List or remove runs, experiments and logged models that were deleted long ago."""
        runs, models = self.ask(OLD_RUNS), self.ask(OLD_MODELS)
        experiments = [str(number) for (number,) in self.ask(OLD_EXPERIMENTS)]
        folders = self.folders([uri for _, uri in (*runs, *models)])
        total, old = self.size(), allocated(folders)
        summary = f"{count(len(runs), 'run')}, {count(len(models), 'model')}"
        if not remove or not (runs or models or experiments):
            return Row("MLflow's deleted runs", total, old, summary)
        self._collect([run for run, _ in runs], [model for model, _ in models], experiments)
        for folder in folders:
            _remove_empty(folder.parent)
        return Row("MLflow's deleted runs", total, old, summary, self.size())

    def _collect(self, runs: list[str], models: list[str], experiments: list[str]) -> None:
        from mlflow import cli, set_tracking_uri

        assert callable(cli._gc_tracking_resources), "MLflow removes deleted runs in another way."
        # Only the server knows where artifacts are, so it deletes them.
        set_tracking_uri(os.environ.get("MLFLOW_TRACKING_URI") or "http://localhost:5000")
        cli._gc_tracking_resources(
            backend_store=cli._get_store(self.uri, self.destination),
            run_ids=runs,
            experiment_ids=experiments,
            logged_model_ids=models,
            older_than=None,
            time_delta=0,
            # Without names, MLflow would remove all of them.
            skip_experiments=not experiments,
            skip_logged_models=False,
        )


def _remove_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        # The folder still contains something, or never existed.
        return


def main(seconds: int, *, remove: bool) -> None:
    """Print the row."""
    # The server runs on this machine, so no proxy must be used.
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "*"
    # Only admin can delete runs of all accounts.
    os.environ["MLFLOW_TRACKING_USERNAME"] = "admin"
    os.environ["MLFLOW_TRACKING_PASSWORD"] = os.environ["MLFLOW_ADMIN_PASSWORD"]
    destination = os.environ.get("MLFLOW_ARTIFACTS_DESTINATION") or "/mlflow_data"
    store = Store(os.environ["MLFLOW_BACKEND_STORE_URI"], destination, time.time() - seconds)
    run({"MLflow's deleted runs": partial(store.clean, remove=remove)})


if __name__ == "__main__":
    main(int(sys.argv[1]), remove=sys.argv[2:] == ["apply"])
