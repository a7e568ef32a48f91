"""Train models and promote the best one.

Tasks: ingestion → features → training (once per kind of model) → validation → promotion. Invalid
rows fail `ingestion`, which names them.

Conf: `until` is the last period to use (blank: all). A run started by drift uses the periods up to
the one that drifted. All models, the current champion and a baseline without features are compared
on the rows held out by `holdout`. The best model becomes a version of the registered model:
`champion` if it beats the champion by the problem's margin, otherwise `challenger`. A training that
would repeat the champion's is `unchanged` and registers nothing.

Tasks exchange data as Parquet files in the run's folder below `DATA_DIR`. A successful run deletes
its folder. A failed run keeps it, so that its tasks can be cleared and run again.
"""

from shutil import rmtree
from typing import Any

import runs
from airflow.exceptions import AirflowSkipException
from airflow.sdk import Metadata, Param, get_current_context, task
from ml.problem import Problem


def create(problem: Problem) -> None:
    """Create the training DAG of a problem."""
    champion, drift = runs.asset(problem, "champion"), runs.asset(problem, "drift")
    held_out = f"{problem.unit.capitalize()}s" if problem.time else "Percentage of the rows"
    params = {
        "until": runs.period_param(problem, f"The last {problem.unit} to use; blank for all"),
        "holdout": Param(
            problem.holdout,
            type="integer",
            minimum=1,
            maximum=50,
            description=f"{held_out} held out from training",
        ),
        "seed": Param(42, type="integer", minimum=0, maximum=2**32 - 1),
    }

    @runs.pipeline(problem, "training", __doc__, schedule=[drift], params=params)
    def pipeline() -> None:
        @runs.step
        def ingestion() -> dict[str, Any]:
            from ml import training

            return training.ingest(problem, runs.folder(), runs.period(problem, "until"))

        @runs.step
        def features(ingested: dict[str, Any]) -> dict[str, str]:
            from ml import training

            return training.make_features(problem, runs.folder(), ingested["rows"])

        @runs.step(map_index_template="{{ kind }}")
        def train(kind: str, tables: dict[str, str], ingested: dict[str, Any]) -> dict[str, Any]:
            from ml import training

            context = get_current_context()
            context["kind"] = kind
            params = {name: context["params"][name] for name in ("seed", "holdout")}
            return training.train(problem, kind, tables, ingested, params, context["run_id"])

        @runs.step
        def validation(
            tables: dict[str, str], models: list[dict[str, Any]], ingested: dict[str, Any]
        ) -> dict[str, Any]:
            from ml import training

            holdout, until = get_current_context()["params"]["holdout"], ingested["until"]
            verdict = training.validate(problem, tables, list(models), until, holdout)
            runs.report(verdict.pop("report"))
            rmtree(runs.folder(), ignore_errors=True)
            return verdict

        @task(outlets=[champion])
        def promotion(verdict: dict[str, Any]) -> Any:
            if verdict["alias"] != "champion":
                raise AirflowSkipException(f"Version {verdict['version']} is {verdict['alias']}.")
            yield Metadata(champion, {"period": verdict["until"], "version": verdict["version"]})

        ingested = ingestion()
        tables = features(ingested)
        mapped = train.override(task_id="training").partial(tables=tables, ingested=ingested)
        models = mapped.expand(kind=list(problem.models))
        verdict = validation(tables, models, ingested)
        tasks = [ingested, tables, models, verdict, promotion(verdict)]
        tasks >> runs.alert_of_failure()

    pipeline()
