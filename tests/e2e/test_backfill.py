"""Replay 2013 month by month and check drift, retraining and alerts.

Run it by hand with `nox -s backfill`, as it takes a quarter of an hour. With `--keep FOLDER`, the
chart and the table of the run are written there.
"""

import csv
import io
import json
from pathlib import Path

import pytest
import requests

pytestmark = pytest.mark.example
MONTHS = [f"2013-{month:02}" for month in range(2, 13)]
FLIGHTS = """
import sys; sys.path.insert(0, {dags!r})
from problems.flights.table import sample
flights = sample()
flights[flights["month"] == 5].head(2000).to_csv(sys.stdout, index=False)
"""
BACKFILL = (
    *("inv", "airflow", "--", "backfill", "create", "--dag-id", "monitoring_pipeline"),
    *("--from-date", "2013-02-01", "--to-date", "2013-12-31", "--max-active-runs", "1"),
)


def mlflow(stack, path, **body):
    return stack.mlflow("POST", path, json=body).json()


def monitoring_runs(stack):
    """Return the metrics and tags of every monitoring run, oldest first."""
    name = "flight-delay-monitoring"
    matches = mlflow(stack, "experiments/search", max_results=10, filter=f"name = '{name}'")
    query = {
        "experiment_ids": [matches["experiments"][0]["experiment_id"]],
        "order_by": ["attributes.start_time ASC"],
    }
    runs = mlflow(stack, "runs/search", **query)["runs"]
    fields = [run["data"]["metrics"] + run["data"]["tags"] for run in runs]
    ids = [{"run_id": run["info"]["run_id"]} for run in runs]
    return [
        {**run_id, **{field["key"]: field["value"] for field in pairs}}
        for run_id, pairs in zip(ids, fields, strict=True)
    ]


def test_backfill_of_2013_retrains_after_drift_and_alerts(stack, receiver, request):
    conf = '{"until": "2013-01"}'
    stack.run_ok("inv", "trigger", "training_pipeline", "--conf", conf, "--wait")
    stack.await_runs("monitoring_pipeline", 180)
    stack.run_ok(*BACKFILL)
    runs = stack.await_runs("monitoring_pipeline", 2400)
    backfilled = [run for run in runs if run["run_type"] == "backfill"]
    assert [run["state"] for run in backfilled] == ["success"] * len(MONTHS)
    monitored = monitoring_runs(stack)
    assert {run["period"] for run in monitored} == {"2013-01", *MONTHS}
    trained = stack.await_runs("training_pipeline", 300)
    events = stack.airflow("/api/v2/assets/events?limit=100")["asset_events"]
    retraining = [event for event in events if event["source_task_id"] == "retraining"]
    months = [event["extra"]["period"] for event in retraining]
    # The first training was started by hand, each other one by drift in one month.
    assert 1 <= len(months) == len(set(months)) == len(trained) - 1
    assert all(receiver.alerts(month, "have drifted") for month in months)
    if folder := request.config.getoption("--keep"):
        write_report(stack, monitored, sorted(months), folder)


def write_report(stack, monitored, retrained, folder):
    """Write the chart of the last monitoring run and the table of all runs."""
    address = f"{stack.url('MLFLOW_PORT')}/get-artifact"
    query = {"run_id": monitored[-1]["run_id"], "path": "history.png"}
    chart = requests.get(address, params=query, auth=stack.credentials("status"), timeout=30)
    chart.raise_for_status()
    Path(folder).mkdir(exist_ok=True)
    Path(folder, "pipelines-2013.png").write_bytes(chart.content)
    table = json.dumps({"retrained": retrained, "looks": monitored}, indent=1)
    Path(folder, "pipelines-2013.json").write_text(table)


@pytest.fixture(scope="module")
def dataset(stack):
    """Set DATASET_URI to a CSV file in the DAG folder. Return its path and valid rows."""
    folder = stack.folder / "dags" / "own"
    folder.mkdir()
    dags = "/opt/airflow/dags"
    if stack.engine == "standalone":
        dags = str(stack.folder / "dags")
    rows = list(csv.DictReader(io.StringIO(stack.run_client(FLIGHTS.format(dags=dags)))))
    stack.exported["DATASET_URI"] = f"{dags}/own/flights.csv"
    stack.run_ok("inv", "up", "--no-proof")
    return folder / "flights.csv", rows


CORRUPTIONS = {
    "a missing column": (lambda row: {k: v for k, v in row.items() if k != "carrier"}, "carrier"),
    "wrong types": (lambda row: {**row, "distance": "far"}, "distance=far"),
    "values times ten": (lambda row: {**row, "distance": int(row["distance"]) * 10}, "distance="),
    "empty": (None, "no flights"),
}


@pytest.mark.parametrize("corruption", CORRUPTIONS)
@pytest.mark.parametrize(
    ("dag_id", "key"), [("monitoring_pipeline", "period"), ("training_pipeline", "until")]
)
def test_corrupted_month_fails_with_reason_and_keeps_champion(
    stack, dataset, corruption, dag_id, key
):
    path, rows = dataset
    corrupt, reason = CORRUPTIONS[corruption]
    write_csv(path, [corrupt(row) for row in rows] if corrupt else [], rows[0])
    before = stack.alias("champion")
    done = stack.run("inv", "trigger", dag_id, "--conf", json.dumps({key: "2013-05"}), "--wait")
    assert done.returncode == 1
    assert reason in done.stderr, done.stderr
    assert stack.alias("champion") == before


def write_csv(path, rows, header):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0] if rows else header))
        writer.writeheader()
        writer.writerows(rows)
