"""The whole stack in what it takes of the smallest machine that it is promised to run on.

Each container is held to its limit by the kernel and all limits together fit into 4 GiB, so nothing
here could take more, whatever this machine has.
"""

import re

import pytest

from orchestration.host.minimums import MEMORY_NEEDED_GIB, MEMORY_TOLERANCE
from orchestration.settings.sizing import fitting
from tests.e2e.clone import SERVICES
from tests.e2e.conftest import standing_copy

GIB, CPUS = 2**30, 2
# How often the kernel ended a process there for its memory, by version of its groups.
ENDED = "cat /sys/fs/cgroup/memory.events /sys/fs/cgroup/memory/memory.oom_control 2>/dev/null"


@pytest.fixture(scope="module")
def small(request, tmp_path_factory):
    clone = standing_copy(request, tmp_path_factory.mktemp("small") / "clone")
    clone.exported |= fitting(MEMORY_NEEDED_GIB * MEMORY_TOLERANCE, CPUS)
    clone.first_up = clone.well("inv", "up")
    return clone


def test_all_that_runs_may_take_less_than_the_machine_has(small):
    asked = ("docker", "inspect", "--format={{.HostConfig.Memory}}")
    limits = [int(small.well(*asked, small.container(name))) for name in SERVICES["docker"]]
    assert all(limits)
    assert sum(limits) < MEMORY_NEEDED_GIB * MEMORY_TOLERANCE * GIB


def test_a_month_is_trained_on_and_the_next_is_looked_at(small):
    small.well("inv", "trigger", "training_pipeline", "--conf", '{"until": "2013-01"}', "--wait")
    small.well("inv", "trigger", "monitoring_pipeline", "--conf", '{"month": "2013-02"}', "--wait")
    runs = small.await_runs("training_pipeline", 300)
    assert {run["state"] for run in runs} == {"success"}


def test_the_whole_year_is_trained_on(small):
    small.well("inv", "trigger", "training_pipeline", "--wait")


@pytest.mark.parametrize("service", sorted(SERVICES["docker"]))
def test_nothing_was_ended_for_its_memory(small, service):
    told = small.inside(service, "sh", "-c", f"{ENDED} || true")
    counts = re.findall(r"^oom_kill (\d+)$", told, re.MULTILINE)
    assert counts, told
    assert set(counts) == {"0"}


def test_a_rebuild_has_room_beside_what_runs(small):
    small.well("inv", "rebuild")
