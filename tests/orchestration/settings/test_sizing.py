"""What a machine gives the stack: limits that add up, and more of everything on a larger one."""

import re

import pytest
import yaml

from orchestration.host import resources
from orchestration.host.minimums import MEMORY_NEEDED_GIB, MEMORY_TOLERANCE
from orchestration.settings.sizing import fitting
from tests.support.repository import ROOT

COMPOSE = yaml.safe_load((ROOT / "orchestration/docker-compose.yaml").read_text(encoding="utf-8"))
SMALLEST = MEMORY_NEEDED_GIB * MEMORY_TOLERANCE


def mebibytes(amount):
    return int(re.fullmatch(r"(\d+)m", amount)[1])


def limits(memory_gib, cpus=2):
    """Of each service that stays, in MiB, as Compose would put the settings in."""
    given = fitting(memory_gib, cpus)
    return {
        name: mebibytes(re.sub(r"\$\{(\w+):[^}]*\}", lambda m: given[m[1]], body["mem_limit"]))
        for name, body in COMPOSE["services"].items()
        if body.get("restart") != "no"
    }


@pytest.mark.parametrize("memory", [SMALLEST, 3.9, 4, 4.5, 6, 8, 16, 24, 64, 512])
def test_all_limits_together_leave_the_system_something_of_the_machine(memory):
    assert sum(limits(memory).values()) <= memory * 1024 - 192


@pytest.mark.parametrize("memory", [8, 16, 64])
def test_of_what_is_above_4_gib_a_quarter_stays_with_the_system(memory):
    assert sum(limits(memory).values()) <= (memory - (memory - 4) / 4) * 1024


def test_a_one_shot_needs_no_more_than_the_service_it_runs_before():
    for name, body in COMPOSE["services"].items():
        if body.get("restart") == "no":
            assert body["mem_limit"].startswith("${SERVICE_MEMORY:?"), name


def test_more_memory_is_used_without_a_setting():
    sizes = [limits(memory) for memory in (4, 6, 8, 12, 16, 24)]
    workers = [size["airflow-worker"] for size in sizes]
    assert workers == sorted(set(workers))
    services = [size["airflow-apiserver"] for size in sizes]
    assert services == sorted(services)
    assert services[0] < services[-1]


@pytest.mark.parametrize(
    ("memory", "cpus", "tasks"),
    [
        (SMALLEST, 2, 1),
        (4, 8, 1),
        (6, 8, 3),
        (8, 1, 2),
        (8, 2, 4),
        (8, 8, 4),
        (64, 4, 8),
        (512, 64, 16),
    ],
)
def test_tasks_at_once_follow_processors_and_memory(memory, cpus, tasks):
    assert fitting(memory, cpus)["WORKER_CONCURRENCY"] == str(tasks)


def test_the_settings_are_those_of_this_machine(make_settings, monkeypatch):
    monkeypatch.setattr(resources, "memory_gib", lambda: 8.0)
    monkeypatch.setattr(resources, "cpus", lambda: 3)
    drafted = make_settings()
    for name, value in fitting(8.0, 3).items():
        assert drafted[name] == value
