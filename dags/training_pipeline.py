"""Train a model that tells which flights will arrive more than 15 minutes late.

ingestion → features → training → validation, on the flights that left New York in 2013
(or `DATASET_URI`). Each run is one MLflow run of the experiment `flight-delay` and one version
of the registered model `flight-delay`. A model that does not beat a linear baseline on later,
held-out months fails the run; one that does becomes `champion`, or `challenger` while the
present champion is at least as good.

Data passes between tasks as Parquet in the run's folder below `DATA_DIR`. A successful run
removes its folder; a failed one keeps it, so that its tasks can be cleared and run again.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from shutil import rmtree
from typing import Any

from airflow.exceptions import AirflowFailException
from airflow.sdk import Param, dag, get_current_context, task
from assets import registered_model


@contextmanager
def no_retry_when_refused() -> Iterator[None]:
    """Fail at once, in one line, where trying again would only fail again."""
    from ml import Refused

    try:
        yield
    except Refused as refused:
        raise AirflowFailException(str(refused)) from None


@dag(
    schedule=None,
    start_date=datetime(2025, 1, 1),
    catchup=False,
    is_paused_upon_creation=False,
    # Two runs at once could both see the same champion and both replace it.
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=1),
    default_args={
        "owner": "mlops",
        "retries": 2,
        "retry_delay": timedelta(seconds=20),
        "execution_timeout": timedelta(minutes=15),
    },
    params={
        "seed": Param(42, type="integer", minimum=0, maximum=2**32 - 1),
        "holdout_months": Param(
            3, type="integer", minimum=1, maximum=11, description="last months, never trained on"
        ),
    },
    tags=["training", "flight-delay"],
    doc_md=__doc__,
)
def training_pipeline() -> None:
    @task(multiple_outputs=True)
    def ingestion() -> dict[str, str]:
        from ml import data

        with no_retry_when_refused():
            flights = data.check(data.read())
        folder = data.run_folder(get_current_context()["run_id"])
        return {
            "flights": data.save(flights, folder / "flights.parquet"),
            "sha256": data.fingerprint(flights),
        }

    @task
    def features(flights: str) -> str:
        from ml import data, features

        folder = data.run_folder(get_current_context()["run_id"])
        return data.save(features.make(data.load(flights)), folder / "features.parquet")

    @task(multiple_outputs=False, outlets=[registered_model])
    def training(table: str, sha256: str) -> dict[str, Any]:
        from ml import data, model, tracking

        params = dict(get_current_context()["params"])
        with no_retry_when_refused():
            trained, metrics = model.train(data.load(table), **params)
        example = data.load(table)[model.FEATURES].head()
        made = tracking.register(trained, example, params=params, metrics=metrics, data_hash=sha256)
        return {**made, "metrics": metrics}

    @task(multiple_outputs=False)
    def validation(table: str, trained: dict[str, Any]) -> dict[str, str]:
        from ml import data, model, tracking

        context = get_current_context()
        _, later = model.split(data.load(table), context["params"]["holdout_months"])
        candidate, champion = tracking.load(trained["version"]), tracking.load("champion")
        with no_retry_when_refused():
            alias = model.judge(
                # The model as the registry gives it back is what would be served.
                model.evaluate(candidate, later),
                trained["metrics"]["baseline"],
                champion and model.evaluate(champion, later),
            )
        tracking.award(alias, trained["version"])
        rmtree(data.run_folder(context["run_id"]), ignore_errors=True)
        return {"alias": alias, "version": trained["version"]}

    ingested = ingestion()
    table = features(ingested["flights"])
    validation(table, training(table, ingested["sha256"]))


training_pipeline()
