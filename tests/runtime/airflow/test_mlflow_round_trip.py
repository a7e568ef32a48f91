"""Test the canary's round trip through a real MLflow on SQLite."""

from pathlib import Path

import mlflow
import pytest

from stack_runtime.airflow import mlflow_round_trip as round_trip
from tests.support import mlflow_store

client, store, use = mlflow_store.client, mlflow_store.store, mlflow_store.use


def canary_runs(client):
    experiment = client.get_experiment_by_name(round_trip.CANARY)
    return client.search_runs([experiment.experiment_id]) if experiment else []


def canary_files():
    return list(Path.cwd().rglob("token.txt"))


def test_canary_times_each_hop_and_cleans_up(client):
    hops = round_trip.round_trip()
    assert list(hops) == ["run", "metric", "artifact", "model", "prune"]
    assert all(seconds >= 0 for seconds in hops.values())
    assert (canary_runs(client), client.search_registered_models(), canary_files()) == ([], [], [])


@pytest.mark.parametrize("hop", ["metric", "artifact", "model"])
def test_crashed_canary_is_pruned_after_an_hour(client, monkeypatch, hop):
    def crash(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(round_trip, f"_check_{hop}", crash)
        with pytest.raises(KeyboardInterrupt):
            round_trip.round_trip()
    round_trip.round_trip()
    assert len(canary_runs(client)) == 1
    monkeypatch.setattr(round_trip, "LEFTOVER_AFTER_SECONDS", -1)
    round_trip.round_trip()
    assert (canary_runs(client), client.search_registered_models(), canary_files()) == ([], [], [])


def test_canary_survives_deleted_experiment(client):
    round_trip.round_trip()
    client.delete_experiment(client.get_experiment_by_name(round_trip.CANARY).experiment_id)
    round_trip.round_trip()


def test_canary_keeps_other_models(client):
    client.create_registered_model("stack-canary-of-mine")
    round_trip.round_trip()
    assert [model.name for model in client.search_registered_models()] == ["stack-canary-of-mine"]


def test_canary_wrong_metric_raises_error(client, monkeypatch):
    monkeypatch.setattr(mlflow.MlflowClient, "log_metric", lambda *_: None)
    with pytest.raises(RuntimeError, match="another metric: wrote"):
        round_trip.round_trip()
