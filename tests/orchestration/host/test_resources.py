"""Test checks of memory, CPUs and disks, on this machine and with fake figures."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from orchestration.host import resources
from orchestration.host.minimums import GIB
from orchestration.host.resources import Host

UNLIMITED = "9223372036854771712"


def problems_of(host=None):
    return resources.resource_problems(host or Host())


@pytest.mark.parametrize(("memory", "enough"), [(3.7, False), (3.85, True), (4.0, True)])
def test_memory_below_the_minimum_is_a_problem(figures, memory, enough):
    figures.memory = memory
    causes = [one.cause for one in problems_of()]
    assert causes == (
        [] if enough else ["This machine has 3.7 GiB of memory. The stack needs 4 GiB."]
    )


def test_memory_limit_below_memory_is_a_problem(figures):
    figures.limit = 2.0
    [problem] = problems_of()
    assert problem.cause.startswith("This machine has 2.0 GiB of memory.")
    assert problem.fix == "Raise the memory limit of this container or session."


def test_memory_of_the_smaller_machine_counts(figures):
    [problem] = problems_of(Host(memory_gib=1.9))
    assert problem.cause.startswith("The engine's machine has 1.9 GiB of memory.")
    assert "Docker Desktop" in problem.fix
    figures.memory = 1.0
    [problem] = problems_of(Host(memory_gib=1.9))
    assert problem.cause.startswith("This machine has 1.0 GiB of memory.")


def test_memory_and_cpus_of_this_machine_are_plausible():
    assert 0.1 < resources.memory_gib() <= resources.machine_gib() < 100_000
    assert 1 <= resources.cpus() < 10_000


@pytest.fixture
def cgroups(tmp_path):
    """Return a function that writes limits to a fake /sys/fs/cgroup and reads the lowest."""

    def limit(membership, files):
        (tmp_path / "membership").write_text(membership)
        for name, text in files.items():
            (tmp_path / "top" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "top" / name).write_text(f"{text}\n")
        return resources.memory_limit_gib(tmp_path / "top", tmp_path / "membership")

    return limit


@pytest.mark.parametrize(
    ("files", "least"),
    [
        ({"user/session/memory.max": 2 * GIB, "user/memory.max": "max"}, 2.0),
        ({"user/session/memory.max": 3 * GIB, "user/memory.max": 2 * GIB}, 2.0),
        ({"user/session/memory.max": 2 * GIB, "user/memory.max": 3 * GIB}, 2.0),
        ({"user/session/memory.max": "max"}, float("inf")),
        # A container with its own cgroup namespace sees its limit at the top.
        ({"memory.max": GIB}, 1.0),
        ({"user/elsewhere/memory.max": GIB}, float("inf")),
    ],
)
def test_memory_limit_cgroup_v2_includes_parents(cgroups, files, least):
    assert cgroups("0::/user/session\n", files) == least


@pytest.mark.parametrize(
    ("files", "least"),
    [
        ({"memory/docker/ab/memory.limit_in_bytes": 2 * GIB}, 2.0),
        ({"memory/memory.limit_in_bytes": 3 * GIB}, 3.0),
        ({"cpu/docker/ab/memory.limit_in_bytes": GIB}, float("inf")),
    ],
)
def test_memory_limit_cgroup_v1_uses_memory_controller(cgroups, files, least):
    assert cgroups("5:cpu:/docker/ab\n4:memory:/docker/ab\n0::/\n", files) == least


def test_memory_limit_unlimited_cgroup_v1_is_huge(cgroups):
    assert cgroups("4:memory:/\n", {"memory/memory.limit_in_bytes": UNLIMITED}) > 1e9


def test_memory_limit_without_cgroups_is_infinite(tmp_path):
    assert resources.memory_limit_gib(tmp_path, tmp_path / "absent") == float("inf")


def test_full_disk_is_reported_with_its_folder(figures, tmp_path):
    figures.free = 1.25
    [problem] = problems_of(Host(folders=(tmp_path,)))
    free = f"1.2 GiB of disk space are free in {tmp_path}. The stack needs 6 GiB."
    assert (problem.code, problem.cause) == ("disk-full", free)
    assert f"sudo du -xhd1 {tmp_path}" in problem.fix


def test_full_disk_is_reported_once_for_the_data_folder(figures, tmp_path):
    figures.free, data = 0.5, tmp_path / "data"
    data.mkdir()
    [problem] = problems_of(Host(folders=(tmp_path, data)))
    assert f"free in {data}. The stack needs 6 GiB." in problem.cause


class SeparateDisk(type(Path())):
    """A folder on its own file system."""

    def stat(self, **options):
        return SimpleNamespace(st_dev=self.name)


def test_disk_of_the_clone_alone_needs_less(figures):
    clone, data = SeparateDisk("/home"), SeparateDisk("/var")
    figures.free = 3.0
    [problem] = problems_of(Host(folders=(clone, data)))
    assert "free in /var. The stack needs 6 GiB." in problem.cause
    figures.free = 0.5
    assert len(problems_of(Host(folders=(clone, data)))) == 2
