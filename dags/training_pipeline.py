"""Train a model that predicts which flights will arrive more than 15 minutes late.

Tasks: ingestion → features → training (once per kind of model) → validation → promotion. They use
the flights that left New York in 2013, or your own (`DATASET_URI`). A batch with invalid rows
fails `ingestion`, which names the rows.

Conf: `until` ("2013-05") is the last month to use; blank means all. A run started by drift uses
the months up to the one that drifted. Both models and the current champion are compared on the
last `holdout_months`. The better model becomes a version of `flight-delay`: `champion` if it beats
the champion by the margin in `ml/model.py`, otherwise `challenger`.

Tasks exchange data as Parquet files in the run's folder below `DATA_DIR`. A successful run deletes
its folder. A failed run keeps it, so that its tasks can be cleared and run again.
"""

from datetime import datetime, timedelta
from shutil import rmtree
from typing import Any

import assets
import runs
from airflow.exceptions import AirflowSkipException
from airflow.sdk import Metadata, Param, dag, get_current_context, task
from ml import MODELS


@dag(
    schedule=[assets.drift],
    start_date=datetime(2013, 1, 1),
    catchup=False,
    is_paused_upon_creation=False,
    # Two concurrent runs could both compare with the same champion and both replace it.
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=1),
    default_args=runs.DEFAULTS,
    params={
        "until": runs.month_param("The last month to use; blank for all months"),
        "holdout_months": Param(
            1, type="integer", minimum=1, maximum=11, description="Months held out of training"
        ),
        "seed": Param(42, type="integer", minimum=0, maximum=2**32 - 1),
    },
    tags=["training", "flight-delay"],
    doc_md=__doc__,
)
def training_pipeline() -> None:
    @task(multiple_outputs=False)
    def ingestion() -> dict[str, Any]:
        from ml import training

        with runs.no_retry_when_refused():
            return training.ingest(runs.folder(), until=runs.month("until"))

    @task
    def features(data: dict[str, Any]) -> str:
        from ml import training

        return training.make_features(runs.folder(), data["flights"])

    @task(multiple_outputs=False, map_index_template="{{ kind }}")
    def train(kind: str, table: str, data: dict[str, Any]) -> dict[str, Any]:
        from ml import training

        context = get_current_context()
        context["kind"] = kind
        params = {name: context["params"][name] for name in ("seed", "holdout_months")}
        with runs.no_retry_when_refused():
            return training.train(kind, table, data, params, context["run_id"])

    @task(multiple_outputs=False)
    def validation(
        table: str, models: list[dict[str, Any]], data: dict[str, Any]
    ) -> dict[str, Any]:
        from ml import training

        holdout = get_current_context()["params"]["holdout_months"]
        with runs.no_retry_when_refused():
            verdict = training.validate(table, list(models), data["until"], holdout)
        runs.report(verdict.pop("report"))
        rmtree(runs.folder(), ignore_errors=True)
        return verdict

    @task(outlets=[assets.champion])
    def promotion(verdict: dict[str, Any]) -> Any:
        if verdict["alias"] != "champion":
            raise AirflowSkipException(f"Version {verdict['version']} is {verdict['alias']}.")
        yield Metadata(assets.champion, {"month": verdict["until"], "version": verdict["version"]})

    data = ingestion()
    table = features(data)
    models = train.override(task_id="training").partial(table=table, data=data).expand(kind=MODELS)
    verdict = validation(table, models, data)
    [data, table, models, verdict, promotion(verdict)] >> runs.alert_of_failure()


training_pipeline()
