"""Run the whole stack with the memory of the smallest supported machine.

The kernel enforces each container's limit, and all limits together fit into 4 GiB. The stack
therefore cannot use more, however much memory this machine has.
"""

import re

import pytest

from orchestration.host.minimums import MEMORY_NEEDED_GIB, MEMORY_TOLERANCE
from orchestration.settings.sizing import sizes_for
from tests.e2e.clone import SERVICES
from tests.e2e.conftest import session_copy

GIB, CPUS = 2**30, 2
# Counters of processes that the kernel killed for their memory, in cgroups of version 2 and 1.
OOM_FILES = "/sys/fs/cgroup/memory.events /sys/fs/cgroup/memory/memory.oom_control"


@pytest.fixture(scope="module")
def small(request, tmp_path_factory):
    clone = session_copy(request, tmp_path_factory.mktemp("small") / "clone")
    clone.exported |= sizes_for(MEMORY_NEEDED_GIB * MEMORY_TOLERANCE, CPUS)
    clone.first_up = clone.run_ok("inv", "up")
    return clone


def test_memory_limits_fit_the_smallest_machine(small):
    inspect = ("docker", "inspect", "--format={{.HostConfig.Memory}}")
    limits = [int(small.run_ok(*inspect, small.container(name))) for name in SERVICES["docker"]]
    assert all(limits)
    assert sum(limits) < MEMORY_NEEDED_GIB * MEMORY_TOLERANCE * GIB


def test_training_on_a_month_and_monitoring_succeed(small):
    small.run_ok("inv", "trigger", "training_pipeline", "--conf", '{"until": "2013-01"}', "--wait")
    small.run_ok(
        "inv", "trigger", "monitoring_pipeline", "--conf", '{"period": "2013-02"}', "--wait"
    )
    runs = small.await_runs("training_pipeline", 300)
    assert {run["state"] for run in runs} == {"success"}


def test_training_on_the_whole_year_succeeds(small):
    small.run_ok("inv", "trigger", "training_pipeline", "--wait")


@pytest.mark.parametrize("service", sorted(SERVICES["docker"]))
def test_no_process_was_killed_for_its_memory(small, service):
    output = small.exec_in(service, "sh", "-c", f"cat {OOM_FILES} 2>/dev/null || true")
    counts = re.findall(r"^oom_kill (\d+)$", output, re.MULTILINE)
    assert counts, output
    assert set(counts) == {"0"}


def test_rebuild_fits_next_to_running_stack(small):
    small.run_ok("inv", "rebuild")
