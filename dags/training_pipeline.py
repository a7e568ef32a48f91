"""Train a model that tells which flights will arrive more than 15 minutes late.

ingestion → features → training (each kind of model) → validation → promotion, on the flights that
left New York in 2013, or on your own: `DATASET_URI`.

Conf: `until` ("2013-05") takes the flights to the end of that month, blank all of them; a run
started by drift takes those to the month that drifted. The last `holdout_months` are held out: both
models and the present champion are compared on them. The better model becomes a version of
`flight-delay`: `champion` if it beats the champion by the margin of `ml/model.py`, else
`challenger`. A bad batch fails `ingestion`, with its rows named, and trains nothing.

Data passes between tasks as Parquet in the run's folder below `DATA_DIR`. A successful run
removes its folder; a failed one keeps it, so that its tasks can be cleared and run again.
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
    # Two runs at once could both see the same champion and both replace it.
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=1),
    default_args=runs.DEFAULTS,
    params={
        "until": runs.month_param("the last month to use; blank for all there are"),
        "holdout_months": Param(
            1, type="integer", minimum=1, maximum=11, description="last months, never trained on"
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
    def features(ingested: dict[str, Any]) -> str:
        from ml import training

        return training.make_features(runs.folder(), ingested["flights"])

    @task(multiple_outputs=False, map_index_template="{{ kind }}")
    def train(kind: str, table: str, ingested: dict[str, Any]) -> dict[str, Any]:
        from ml import training

        context = get_current_context()
        context["kind"] = kind
        params = {name: context["params"][name] for name in ("seed", "holdout_months")}
        with runs.no_retry_when_refused():
            return training.train(kind, table, ingested, params, context["run_id"])

    @task(multiple_outputs=False)
    def validation(
        table: str, trained: list[dict[str, Any]], ingested: dict[str, Any]
    ) -> dict[str, Any]:
        from ml import training

        holdout = get_current_context()["params"]["holdout_months"]
        with runs.no_retry_when_refused():
            verdict = training.validate(table, list(trained), ingested["until"], holdout)
        runs.report(verdict.pop("report"))
        rmtree(runs.folder(), ignore_errors=True)
        return verdict

    @task(outlets=[assets.champion])
    def promotion(verdict: dict[str, Any]) -> Any:
        if verdict["alias"] != "champion":
            raise AirflowSkipException(f"version {verdict['version']} is {verdict['alias']}")
        yield Metadata(assets.champion, {"month": verdict["until"], "version": verdict["version"]})

    ingested = ingestion()
    table = features(ingested)
    training = train.override(task_id="training").partial(table=table, ingested=ingested)
    trained = training.expand(kind=MODELS)
    verdict = validation(table, trained, ingested)
    [ingested, table, trained, verdict, promotion(verdict)] >> runs.alert_of_failure()


training_pipeline()
