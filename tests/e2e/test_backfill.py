"""2013 as it would have come: month after month, with what drifted, retrained and was told.

By hand, as it takes a quarter of an hour: `nox -s backfill`. With `--keep FOLDER` the picture and
the table of the run are written there.
"""

import csv
import io
import json
from pathlib import Path

import pytest
import requests

MONTHS = [f"2013-{month:02}" for month in range(2, 13)]
FLIGHTS = """
import sys; sys.path.insert(0, {dags!r})
from ml import sample
flights = sample.flights()
flights[flights["month"] == 5].head(2000).to_csv(sys.stdout, index=False)
"""
BACKFILL = (
    *("inv", "airflow", "--", "backfill", "create", "--dag-id", "monitoring_pipeline"),
    *("--from-date", "2013-02-01", "--to-date", "2013-12-31", "--max-active-runs", "1"),
)


def mlflow(stack, path, **body):
    return stack.mlflow("POST", path, json=body).json()


def looks(stack):
    """Every look at a month in order: its metrics and tags."""
    name = "flight-delay-monitoring"
    found = mlflow(stack, "experiments/search", max_results=10, filter=f"name = '{name}'")
    asked = {
        "experiment_ids": [found["experiments"][0]["experiment_id"]],
        "order_by": ["attributes.start_time ASC"],
    }
    runs = mlflow(stack, "runs/search", **asked)["runs"]
    fields = [run["data"]["metrics"] + run["data"]["tags"] for run in runs]
    ids = [{"run_id": run["info"]["run_id"]} for run in runs]
    return [
        {**one, **{field["key"]: field["value"] for field in pairs}}
        for one, pairs in zip(ids, fields, strict=True)
    ]


def test_every_month_of_2013(stack, receiver, request):
    conf = '{"until": "2013-01"}'
    stack.well("inv", "trigger", "training_pipeline", "--conf", conf, "--wait")
    stack.await_runs("monitoring_pipeline", 180)
    stack.well(*BACKFILL)
    runs = stack.await_runs("monitoring_pipeline", 2400)
    by_time = [run for run in runs if run["run_type"] == "backfill"]
    assert [run["state"] for run in by_time] == ["success"] * len(MONTHS)
    seen = looks(stack)
    assert {one["month"] for one in seen} == {"2013-01", *MONTHS}
    trained = stack.await_runs("training_pipeline", 300)
    events = stack.airflow("/api/v2/assets/events?limit=100")["asset_events"]
    asked = [event["extra"]["month"] for event in events if event["source_task_id"] == "retraining"]
    assert 1 <= len(asked) == len(set(asked)) == len(trained) - 1
    assert all(receiver.told(month, "have drifted") for month in asked)
    if folder := request.config.getoption("--keep"):
        keep(stack, seen, sorted(asked), folder)


def keep(stack, seen, asked, folder):
    """Write the picture that the last look drew, and every look, where documents are."""
    address = f"{stack.url('MLFLOW_PORT')}/get-artifact"
    asked_for = {"run_id": seen[-1]["run_id"], "path": "history.png"}
    picture = requests.get(address, params=asked_for, timeout=30)
    picture.raise_for_status()
    Path(folder).mkdir(exist_ok=True)
    Path(folder, "pipelines-2013.png").write_bytes(picture.content)
    table = json.dumps({"retrained": asked, "looks": seen}, indent=1)
    Path(folder, "pipelines-2013.json").write_text(table)


@pytest.fixture(scope="module")
def own(stack):
    """A data set of one's own below the DAG folder, which the services see: (path, good rows)."""
    folder = stack.folder / "dags" / "own"
    folder.mkdir()
    seen_as = "/opt/airflow/dags"
    if stack.engine == "standalone":
        seen_as = str(stack.folder / "dags")
    rows = list(csv.DictReader(io.StringIO(stack.client(FLIGHTS.format(dags=seen_as)))))
    stack.exported["DATASET_URI"] = f"{seen_as}/own/flights.csv"
    stack.well("inv", "up", "--no-proof")
    return folder / "flights.csv", rows


BAD = {
    "a missing column": (lambda row: {k: v for k, v in row.items() if k != "carrier"}, "carrier"),
    "wrong types": (lambda row: {**row, "distance": "far"}, "distance=far"),
    "values times ten": (lambda row: {**row, "distance": int(row["distance"]) * 10}, "distance="),
    "empty": (None, "no flights"),
}


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize(
    ("dag_id", "key"), [("monitoring_pipeline", "month"), ("training_pipeline", "until")]
)
def test_a_corrupted_month_fails_with_its_reason_and_trains_nothing(stack, own, what, dag_id, key):
    path, rows = own
    corrupt, reason = BAD[what]
    write(path, [corrupt(row) for row in rows] if corrupt else [], rows[0])
    before = stack.alias("champion")
    done = stack.run("inv", "trigger", dag_id, "--conf", json.dumps({key: "2013-05"}), "--wait")
    assert done.returncode == 1
    assert reason in done.stderr, done.stderr
    assert stack.alias("champion") == before


def write(path, rows, header):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0] if rows else header))
        writer.writeheader()
        writer.writerows(rows)
