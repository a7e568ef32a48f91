"""Memory of containers, from the kernel's files or from the engine, and their settings."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from docker.errors import NotFound

from orchestration.engines.docker import containers

ID = "4f1c" * 16
OTHER = "beef" * 16
V1 = {"memory.usage_in_bytes": "100\n", "memory.stat": "cache 9\ntotal_inactive_file 30\n"}
V2 = {"memory.current": "100\n", "memory.stat": "anon 9\ninactive_file 40\n"}


class Container:
    """A running container, for which the engine reports 1000 bytes, `stats` or an error."""

    id = ID

    def __init__(self, pid=7, stats=None):
        self.attrs = {"State": {"Pid": pid}}
        self.memory_stats = {"usage": 1000} if stats is None else stats

    def stats(self, **options):
        assert options == {"stream": False, "one_shot": True}
        if isinstance(self.memory_stats, Exception):
            raise self.memory_stats
        return {"memory_stats": self.memory_stats}


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """Return a function that writes /proc/7/cgroup and files of a cgroup to a folder."""
    (tmp_path / "proc" / "7").mkdir(parents=True)
    monkeypatch.setattr(containers, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(containers, "Path", lambda path: tmp_path / str(path).lstrip("/"))

    def write(membership, folder="", files=()):
        (tmp_path / "proc/7/cgroup").write_text(membership)
        (tmp_path / "cgroup" / folder).mkdir(parents=True)
        for name, text in dict(files).items():
            (tmp_path / "cgroup" / folder / name).write_text(text)

    return write


@pytest.mark.parametrize(
    ("membership", "folder", "files", "expected"),
    [
        (f"0::/system.slice/docker-{ID}.scope\n", f"system.slice/docker-{ID}.scope", V2, 60),
        (f"0::/docker/{ID}\n", f"docker/{ID}", V2, 60),
        (f"5:cpu,cpuacct:/docker/{ID}\n4:memory:/docker/{ID}\n0::/\n", f"memory/docker/{ID}",
         V1, 70),
        # Both versions at once: v1 counts the memory.
        (f"4:memory:/docker/{ID}\n0::/docker/{ID}\n", f"memory/docker/{ID}", V1, 70),
        (f"0::/odd:name/{ID}\n", f"odd:name/{ID}", V2, 60),
    ],
)  # fmt: skip
def test_memory_from_the_kernel_excludes_cache(kernel, membership, folder, files, expected):
    kernel(membership, folder, files)
    assert containers.memory(Container()) == expected


@pytest.mark.parametrize(
    ("membership", "folder", "files"),
    [
        # The engine is on another machine, where the same pid is that of the container.
        (f"0::/docker/{OTHER}\n", f"docker/{OTHER}", V2),
        ("0::/user.slice\n", "user.slice", V2),
        ("", "", {}),
        ("nonsense\n", "", {}),
        # This process runs in a container, whose namespace hides the path.
        (f"0::/../../docker/{ID}\n", "", {}),
        (f"0::/{ID}\n", ID, {"memory.current": "100\n"}),
        (f"0::/{ID}\n", ID, V2 | {"memory.current": "max\n"}),
        (f"0::/{ID}\n", ID, V2 | {"memory.stat": "anon 9\n"}),
    ],
)
def test_memory_without_usable_kernel_files_is_from_the_engine(kernel, membership, folder, files):
    kernel(membership, folder, files)
    assert containers.memory(Container()) == 1000


@pytest.mark.parametrize("pid", [0, 8])
def test_memory_of_a_pid_that_is_not_here_is_from_the_engine(kernel, pid):
    kernel(f"0::/docker/{ID}\n", f"docker/{ID}", V2)
    assert containers.memory(Container(pid)) == 1000


def test_memory_from_the_kernel_needs_no_engine(kernel):
    kernel(f"0::/docker/{ID}\n", f"docker/{ID}", V2)
    assert containers.memory(Container(stats=AssertionError("engine queried"))) == 60


def test_cgroups_are_those_of_the_kernel_by_default():
    assert Path("/sys/fs/cgroup") == containers.CGROUPS


@pytest.mark.parametrize(
    ("stats", "expected"),
    [
        ({"usage": 100, "stats": {"inactive_file": 30}}, 70),
        ({"usage": 100, "stats": {"total_inactive_file": 40, "inactive_file": 1}}, 60),
        ({"usage": 100}, 100),
        ({}, 0),
    ],
)
def test_memory_from_the_engine_excludes_reclaimable_cache(kernel, stats, expected):
    assert containers.memory(Container(0, stats)) == expected


def test_memory_of_a_removed_container_is_zero(kernel):
    assert containers.memory(Container(0, NotFound("no such container"))) == 0


def test_list_containers_selects_the_services_of_the_project():
    calls = []
    sdk = SimpleNamespace(
        containers=SimpleNamespace(list=lambda **options: calls.append(options) or ["one"])
    )
    assert containers.list_containers(sdk, "mine") == ["one"]
    labels = ["com.docker.compose.project=mine", "com.docker.compose.oneoff=False"]
    assert calls == [{"filters": {"label": labels}, "ignore_removed": True}]


INSPECTED = {
    "Config": {"Env": ["A=1", "B=x=y", "C=", "ODD"], "User": "1000:0"},
    "HostConfig": {
        "PortBindings": {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8090"}], "1/udp": None}
    },
}
CONFIGURED = {
    "environment": {"A": "1", "B": "x=y", "C": "", "INHERITED": None},
    "user": "1000:0",
    "ports": [
        {"mode": "ingress", "host_ip": "127.0.0.1", "target": 8080, "published": "8090",
         "protocol": "tcp"},
    ],
}  # fmt: skip


def test_environment_and_intended_environment_use_the_same_keys():
    actual = containers.environment(INSPECTED)
    intended = containers.intended_environment(CONFIGURED)
    assert intended == {
        "A": "1", "B": "x=y", "C": "", "user": "1000:0", "port 8080/tcp": "127.0.0.1:8090",
    }  # fmt: skip
    assert {name: actual[name] for name in intended} == intended
    assert actual.keys() - intended.keys() == {"port 1/udp"}


def test_environment_without_settings_is_empty():
    assert containers.environment({"Config": {}}) == {"user": ""}
    assert containers.intended_environment({}) == {}
