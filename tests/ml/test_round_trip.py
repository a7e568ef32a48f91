"""The canary's way into MLflow and back, against a real MLflow on SQLite."""

from pathlib import Path

import mlflow
import pytest
from ml import round_trip


def canary_runs(client):
    experiment = client.get_experiment_by_name(round_trip.CANARY)
    return client.search_runs([experiment.experiment_id]) if experiment else []


def canary_files():
    return list(Path.cwd().rglob("token.txt"))


def test_canary_times_each_hop_and_leaves_nothing(client):
    hops = round_trip.round_trip()
    assert list(hops) == ["run", "metric", "artifact", "model", "prune"]
    assert all(seconds >= 0 for seconds in hops.values())
    assert (canary_runs(client), client.search_registered_models(), canary_files()) == ([], [], [])


@pytest.mark.parametrize("hop", ["metric", "artifact", "model"])
def test_crashed_canary_is_pruned_by_a_later_one_after_an_hour(client, monkeypatch, hop):
    def crash(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(round_trip, f"_{hop}_there_and_back", crash)
        with pytest.raises(KeyboardInterrupt):
            round_trip.round_trip()
    round_trip.round_trip()
    assert len(canary_runs(client)) == 1
    monkeypatch.setattr(round_trip, "LEFTOVER_AFTER_SECONDS", -1)
    round_trip.round_trip()
    assert (canary_runs(client), client.search_registered_models(), canary_files()) == ([], [], [])


def test_canary_survives_a_deleted_experiment(client):
    round_trip.round_trip()
    client.delete_experiment(client.get_experiment_by_name(round_trip.CANARY).experiment_id)
    round_trip.round_trip()


def test_canary_leaves_other_models_alone(client):
    client.create_registered_model("stack-canary-of-mine")
    round_trip.round_trip()
    assert [one.name for one in client.search_registered_models()] == ["stack-canary-of-mine"]


def test_canary_notices_another_answer(client, monkeypatch):
    monkeypatch.setattr(mlflow.MlflowClient, "log_metric", lambda *_: None)
    with pytest.raises(RuntimeError, match="another metric: wrote"):
        round_trip.round_trip()
