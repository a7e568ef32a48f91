"""The board for programs: all fields of status.json, and metrics that Prometheus can parse."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from status import documents
from status.board import Board, ServiceStatus
from status.host import Disk
from status.metadata import UNFINISHED_STATES, Metadata
from status.models import Models, Version
from status.probes import Round
from status.verdict import Verdict

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
HOSTILE = 'a"b\\c\nd} 1\n# HELP é <script>'
STALE = [{"name": "a.py", "parsed": "2026-01-02T03:04:05+00:00"}]
METADATA = Metadata(
    problems={"flight-delay": {"training": "training_pipeline"}},
    tasks={"queued": 2, "running": 1},
    oldest_queued=3.5,
    hops={"run": 0.09},
    broken_files=2,
    stale_files=STALE,
    connections=14,
    bytes={"airflow": 2**40},
)
MODELS = {
    "flight-delay": Models(
        {"champion": Version("3", "run3", "2013-05", {"auc": 0.7, "auc.2013-01": 0.6})},
        {"2013-05": 0.0, "2013-06": 0.25},
    )
}
SERVICES = [
    Verdict("mlflow", "up", "fine", 12.5),
    Verdict("airflow-scheduler", "degraded", "slow", seen=NOW - timedelta(seconds=9)),
    Verdict("redis", "down", "refuses"),
    Verdict("postgres", "unknown", "-"),
]
WORK = [
    Verdict("canary", "up", "fine", seen=datetime.now(UTC) - timedelta(seconds=5000)),
    Verdict("training", "running", "running for 3 s"),
    Verdict("monitoring", "none", "no run yet"),
    Verdict("dag-files", "down", "1 import error"),
    Verdict("drift", "unknown", "no data from MLflow"),
]
ROUND = Round(SERVICES, WORK, METADATA, MODELS, 4, Disk(5, 10))
EMPTY = Round([], [])


def board(latest=ROUND, checked_at=NOW):
    return Board([ServiceStatus(one, NOW) for one in latest.services], checked_at, latest)


def samples(latest=ROUND):
    """Return the parsed metrics: {name: {label or "": value}}."""
    text = documents.metrics(board(latest)).decode()
    metrics = {}
    for family in text_string_to_metric_families(text):
        assert (family.type, bool(family.documentation)) == ("gauge", True)
        metrics[family.name] = {
            # Of several labels, `problem` is not the one that tests compare.
            next((v for k, v in one.labels.items() if k != "problem"), ""): one.value
            for one in family.samples
        }
    return metrics


def test_document_contains_every_field():
    document = json.loads(json.dumps(documents.document(board())))
    moment = "2026-01-02T03:04:05.678+00:00"
    assert document.pop("services")[0] == {
        "name": "mlflow",
        "state": "up",
        "detail": "fine",
        "latency_ms": 12.5,
        "since": moment,
        "last_seen": moment,
    }
    assert document.pop("work")[1] == {
        "name": "training",
        "state": "running",
        "detail": "running for 3 s",
        "at": None,
        "dag": "training_pipeline",
    }
    champion = {"version": "3", "until": "2013-05", "metrics": {"auc": 0.7, "auc.2013-01": 0.6}}
    assert document == {
        "version": 2,
        "project": "",
        "stack": "",
        "status": "down",
        "checked_at": moment,
        "queue": {"waiting": 4, "oldest_seconds": 3.5},
        "tasks": {"queued": 2, "running": 1},
        "problems": {
            "flight-delay": {
                "models": {"champion": champion},
                "drift": {"2013-05": 0.0, "2013-06": 0.25},
                "drift_limit": 0.25,
            }
        },
        "stale_files": STALE,
    }


def test_document_dates_heartbeats_and_finished_work():
    document = documents.document(board())
    assert document["services"][1]["last_seen"] == "2026-01-02T03:03:56.678+00:00"
    assert datetime.fromisoformat(document["work"][0]["at"]) < datetime.now(UTC)


def test_document_unknown_values_are_null():
    document = documents.document(board(EMPTY, checked_at=None))
    assert document["checked_at"] is None
    assert document["queue"] == {"waiting": None, "oldest_seconds": None}
    assert [document[name] for name in ("tasks", "problems", "stale_files")] == [None] * 3


def test_document_missing_values_are_empty_not_null():
    document = documents.document(board(Round([], [], Metadata(), {}, 0)))
    assert [document[name] for name in ("tasks", "problems")] == [{}] * 2
    assert document["queue"]["waiting"] == 0


def test_metrics_service_up_is_1_only_if_up():
    metrics = samples()
    assert metrics["mlops_service_up"] == {
        "mlflow": 1,
        "airflow-scheduler": 0,
        "redis": 0,
        "postgres": 0,
    }
    assert metrics["mlops_probe_latency_seconds"] == {"mlflow": 0.0125}


def test_metrics_leave_out_running_and_missing_work():
    metrics = samples()
    assert metrics["mlops_work_up"] == {"canary": 1, "dag-files": 0, "drift": 0}
    assert metrics["mlops_work_age_seconds"] == {"canary": pytest.approx(5000, abs=1000)}


def test_metrics_are_in_base_units():
    metrics = samples()
    assert metrics["mlops_queue_length"] == {"": 4}
    assert metrics["mlops_queue_oldest_seconds"] == {"": 3.5}
    assert metrics["mlops_canary_hop_seconds"] == {"run": 0.09}
    assert metrics["mlops_dag_import_errors"] == {"": 2}
    assert metrics["mlops_database_connections"] == {"": 14}
    assert metrics["mlops_database_bytes"] == {"airflow": 2**40}
    assert metrics["mlops_champion_metric"] == {"auc": 0.7, "auc.2013-01": 0.6}
    assert metrics["mlops_drift_share"] == {"2013-05": 0, "2013-06": 0.25}
    assert (metrics["mlops_disk_free_bytes"], metrics["mlops_disk_size_bytes"]) == (
        {"": 5},
        {"": 10},
    )


def test_metrics_task_states_without_tasks_are_0():
    tasks = dict.fromkeys(UNFINISHED_STATES, 0.0)
    assert samples()["mlops_tasks"] == tasks | {"queued": 2, "running": 1}
    assert samples(replace(ROUND, metadata=Metadata()))["mlops_tasks"] == tasks


def test_metrics_queue_is_0_if_empty_and_left_out_if_unknown():
    empty = replace(ROUND, queue=0, metadata=Metadata())
    assert samples(empty)["mlops_queue_length"] == {"": 0}
    assert samples(empty)["mlops_queue_oldest_seconds"] == {"": 0}
    assert "mlops_queue_length" not in samples(replace(ROUND, queue=None))


def test_metrics_leave_out_unknown_values():
    per_name = {"mlops_service_up", "mlops_probe_latency_seconds"}
    per_name |= {"mlops_work_up", "mlops_work_age_seconds"}
    assert samples(EMPTY) == {name: {} for name in per_name}


def test_metrics_with_hostile_labels_can_be_parsed():
    verdict = Verdict(HOSTILE, "up", HOSTILE, 1000, seen=NOW)
    version = Version(HOSTILE, HOSTILE, HOSTILE, {HOSTILE: 0.5})
    metadata = Metadata(hops={HOSTILE: 3.0}, bytes={HOSTILE: 4})
    models = {HOSTILE: Models({"challenger": version}, {HOSTILE: 0.1})}
    metrics = samples(Round([verdict], [verdict], metadata, models))
    assert metrics["mlops_service_up"] == metrics["mlops_work_up"] == {HOSTILE: 1}
    assert metrics["mlops_probe_latency_seconds"] == {HOSTILE: 1}
    assert metrics["mlops_canary_hop_seconds"] == {HOSTILE: 3}
    assert metrics["mlops_database_bytes"] == {HOSTILE: 4}
    assert metrics["mlops_challenger_metric"] == {HOSTILE: 0.5}
    assert metrics["mlops_drift_share"] == {HOSTILE: 0.1}
    # No label value created another metric.
    assert all(name.startswith("mlops_") for name in metrics)


def test_readme_lists_exactly_the_fields_and_metrics():
    names = re.findall(r"`([^`]+)`", Path("status/README.md").read_text())
    fields = {*documents.document(board()), "services[]", "work[]"} - {"services", "work"}
    assert fields <= set(names)
    challenger = {"challenger": MODELS["flight-delay"].versions["champion"]}
    known = MODELS["flight-delay"]
    versions = {**known.versions, **challenger}
    both = replace(ROUND, models={"flight-delay": replace(known, versions=versions)})
    assert {name.partition("{")[0] for name in names if name.startswith("mlops_")} == {
        *samples(both)
    }
