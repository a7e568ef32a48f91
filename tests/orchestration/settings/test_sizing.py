"""Test the sizes derived from memory and CPUs, and the sum of all limits."""

import re

import pytest
import yaml

from orchestration.host import resources
from orchestration.host.minimums import MEMORY_NEEDED_GIB, MEMORY_TOLERANCE
from orchestration.settings.sizing import sizes_for
from tests.support.repository import ROOT

COMPOSE = yaml.safe_load((ROOT / "orchestration/docker-compose.yaml").read_text(encoding="utf-8"))
SMALLEST = MEMORY_NEEDED_GIB * MEMORY_TOLERANCE


def mebibytes(amount):
    return int(re.fullmatch(r"(\d+)m", amount)[1])


def limits(memory_gib, cpus=2):
    """Return each long-running service's memory limit in MiB, as Compose interpolates it."""
    sizes = sizes_for(memory_gib, cpus)
    return {
        name: mebibytes(re.sub(r"\$\{(\w+):[^}]*\}", lambda m: sizes[m[1]], body["mem_limit"]))
        for name, body in COMPOSE["services"].items()
        if body.get("restart") != "no"
    }


@pytest.mark.parametrize("memory", [SMALLEST, 3.9, 4, 4.5, 6, 8, 16, 24, 64, 512])
def test_limits_leave_memory_for_the_system(memory):
    assert sum(limits(memory).values()) <= memory * 1024 - 192


@pytest.mark.parametrize("memory", [8, 16, 64])
def test_limits_leave_a_quarter_of_memory_above_4_gib(memory):
    assert sum(limits(memory).values()) <= (memory - (memory - 4) / 4) * 1024


def test_init_jobs_are_limited_by_service_memory():
    for name, body in COMPOSE["services"].items():
        if body.get("restart") == "no":
            assert body["mem_limit"].startswith("${SERVICE_MEMORY:?"), name


def test_more_memory_raises_limits():
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
def test_worker_concurrency_depends_on_cpus_and_memory(memory, cpus, tasks):
    assert sizes_for(memory, cpus)["WORKER_CONCURRENCY"] == str(tasks)


def test_draft_uses_sizes_of_this_machine(make_settings, monkeypatch):
    monkeypatch.setattr(resources, "memory_gib", lambda: 8.0)
    monkeypatch.setattr(resources, "cpus", lambda: 3)
    settings = make_settings()
    for name, value in sizes_for(8.0, 3).items():
        assert settings[name] == value
