"""The board for machines: status.json with all its fields, metrics that Prometheus can read."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from status import documents
from status.board import Board, Shown
from status.host import Disk
from status.metadata import UNDER_WAY, Metadata
from status.models import Models, Version
from status.probes import Round
from status.verdict import Verdict

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
HOSTILE = 'a"b\\c\nd} 1\n# HELP é <script>'
METADATA = Metadata(
    tasks={"queued": 2, "running": 1},
    oldest_queued=3.5,
    hops={"run": 0.09},
    broken_files=2,
    connections=14,
    bytes={"airflow": 2**40},
)
MODELS = Models(
    {"champion": Version("3", "run3", "2013-05", {"auc": 0.7, "auc.2013-01": 0.6})},
    {"2013-05": 0.0, "2013-06": 0.25},
)
SERVICES = [
    Verdict("mlflow", "up", "fine", 12.5),
    Verdict("airflow-scheduler", "degraded", "slow", seen=NOW - timedelta(seconds=9)),
    Verdict("redis", "down", "refuses"),
    Verdict("postgres", "unknown", "-"),
]
WORK = [
    Verdict("canary", "up", "well", seen=datetime.now(UTC) - timedelta(seconds=5000)),
    Verdict("training", "running", "running for 3 s"),
    Verdict("monitoring", "none", "no run yet"),
    Verdict("dag-files", "down", "1 does not import"),
    Verdict("drift", "unknown", "MLflow cannot tell"),
]
FOUND = Round(SERVICES, WORK, METADATA, MODELS, 4, Disk(5, 10))
NOTHING = Round([], [])


def board(found=FOUND, checked_at=NOW):
    return Board([Shown(one, NOW) for one in found.services], checked_at, found)


def samples(found=FOUND):
    """Each metric's samples: {name: {label or "": value}}."""
    text = documents.metrics(board(found)).decode()
    read = {}
    for family in text_string_to_metric_families(text):
        assert (family.type, bool(family.documentation)) == ("gauge", True)
        read[family.name] = {
            next(iter(one.labels.values()), ""): one.value for one in family.samples
        }
    return read


def test_the_document_holds_every_field():
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
    }
    champion = {"version": "3", "until": "2013-05", "metrics": {"auc": 0.7, "auc.2013-01": 0.6}}
    assert document == {
        "version": 1,
        "status": "down",
        "checked_at": moment,
        "queue": {"waiting": 4, "oldest_seconds": 3.5},
        "tasks": {"queued": 2, "running": 1},
        "models": {"champion": champion},
        "drift": {"2013-05": 0.0, "2013-06": 0.25},
    }


def test_a_heartbeat_is_last_seen_when_it_beat_and_work_when_it_ended():
    document = documents.document(board())
    assert document["services"][1]["last_seen"] == "2026-01-02T03:03:56.678+00:00"
    assert datetime.fromisoformat(document["work"][0]["at"]) < datetime.now(UTC)


def test_what_is_not_known_is_null():
    document = documents.document(board(NOTHING, checked_at=None))
    assert document["checked_at"] is None
    assert document["queue"] == {"waiting": None, "oldest_seconds": None}
    assert [document[name] for name in ("tasks", "models", "drift")] == [None] * 3


def test_what_is_not_there_yet_is_empty_and_not_null():
    document = documents.document(board(Round([], [], Metadata(), Models(), 0)))
    assert [document[name] for name in ("tasks", "models", "drift")] == [{}] * 3
    assert document["queue"]["waiting"] == 0


def test_only_a_service_that_is_up_is_1():
    read = samples()
    assert read["mlops_service_up"] == {
        "mlflow": 1,
        "airflow-scheduler": 0,
        "redis": 0,
        "postgres": 0,
    }
    assert read["mlops_probe_latency_seconds"] == {"mlflow": 0.0125}


def test_work_under_way_or_not_there_yet_is_neither_well_nor_ill():
    read = samples()
    assert read["mlops_work_up"] == {"canary": 1, "dag-files": 0, "drift": 0}
    assert read["mlops_work_age_seconds"] == {"canary": pytest.approx(5000, abs=1000)}


def test_figures_are_told_in_base_units():
    read = samples()
    assert read["mlops_queue_length"] == {"": 4}
    assert read["mlops_queue_oldest_seconds"] == {"": 3.5}
    assert read["mlops_canary_hop_seconds"] == {"run": 0.09}
    assert read["mlops_dag_import_errors"] == {"": 2}
    assert read["mlops_database_connections"] == {"": 14}
    assert read["mlops_database_bytes"] == {"airflow": 2**40}
    assert read["mlops_champion_metric"] == {"auc": 0.7, "auc.2013-01": 0.6}
    assert read["mlops_drift_share"] == {"2013-05": 0, "2013-06": 0.25}
    assert (read["mlops_disk_free_bytes"], read["mlops_disk_size_bytes"]) == ({"": 5}, {"": 10})


def test_states_that_no_task_is_in_are_0_so_that_graphs_go_on():
    tasks = dict.fromkeys(UNDER_WAY, 0.0)
    assert samples()["mlops_tasks"] == tasks | {"queued": 2, "running": 1}
    assert samples(replace(FOUND, metadata=Metadata()))["mlops_tasks"] == tasks


def test_an_empty_queue_is_0_and_an_unknown_one_left_out():
    empty = replace(FOUND, queue=0, metadata=Metadata())
    assert samples(empty)["mlops_queue_length"] == {"": 0}
    assert samples(empty)["mlops_queue_oldest_seconds"] == {"": 0}
    assert "mlops_queue_length" not in samples(replace(FOUND, queue=None))


def test_what_is_not_known_is_left_out():
    per_name = {"mlops_service_up", "mlops_probe_latency_seconds"}
    per_name |= {"mlops_work_up", "mlops_work_age_seconds"}
    assert samples(NOTHING) == {name: {} for name in per_name}


def test_hostile_labels_survive_the_parse():
    verdict = Verdict(HOSTILE, "up", HOSTILE, 1000, seen=NOW)
    version = Version(HOSTILE, HOSTILE, HOSTILE, {HOSTILE: 0.5})
    metadata = Metadata(hops={HOSTILE: 3.0}, bytes={HOSTILE: 4})
    models = Models({"challenger": version}, {HOSTILE: 0.1})
    read = samples(Round([verdict], [verdict], metadata, models))
    assert read["mlops_service_up"] == read["mlops_work_up"] == {HOSTILE: 1}
    assert read["mlops_probe_latency_seconds"] == {HOSTILE: 1}
    assert read["mlops_canary_hop_seconds"] == {HOSTILE: 3}
    assert read["mlops_database_bytes"] == {HOSTILE: 4}
    assert read["mlops_challenger_metric"] == {HOSTILE: 0.5}
    assert read["mlops_drift_share"] == {HOSTILE: 0.1}
    # No label made a metric or a label of its own.
    assert all(name.startswith("mlops_") for name in read)


def test_the_readme_tells_of_each_field_and_each_metric_and_of_no_other():
    told = re.findall(r"`([^`]+)`", Path("status/README.md").read_text())
    fields = {*documents.document(board()), "services[]", "work[]"} - {"services", "work"}
    assert fields <= set(told)
    challenger = {"challenger": MODELS.versions["champion"]}
    both = replace(FOUND, models=replace(MODELS, versions={**MODELS.versions, **challenger}))
    assert {name.partition("{")[0] for name in told if name.startswith("mlops_")} == {
        *samples(both)
    }
