"""What is known of containers: memory by the kernel's own files, or by the engine's answer."""

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
    """A running container; of its engine 1000 bytes are heard, or that it is gone."""

    id = ID

    def __init__(self, pid=7, stats=None):
        self.attrs = {"State": {"Pid": pid}}
        self.answer = {"usage": 1000} if stats is None else stats

    def stats(self, **options):
        assert options == {"stream": False, "one_shot": True}
        if isinstance(self.answer, Exception):
            raise self.answer
        return {"memory_stats": self.answer}


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """Writes /proc/7/cgroup, and files of a cgroup below a folder for /sys/fs/cgroup."""
    (tmp_path / "proc" / "7").mkdir(parents=True)
    monkeypatch.setattr(containers, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(containers, "Path", lambda path: tmp_path / str(path).lstrip("/"))

    def tell(membership, folder="", files=()):
        (tmp_path / "proc/7/cgroup").write_text(membership)
        (tmp_path / "cgroup" / folder).mkdir(parents=True)
        for name, text in dict(files).items():
            (tmp_path / "cgroup" / folder / name).write_text(text)

    return tell


@pytest.mark.parametrize(
    ("membership", "folder", "files", "held"),
    [
        (f"0::/system.slice/docker-{ID}.scope\n", f"system.slice/docker-{ID}.scope", V2, 60),
        (f"0::/docker/{ID}\n", f"docker/{ID}", V2, 60),
        (f"5:cpu,cpuacct:/docker/{ID}\n4:memory:/docker/{ID}\n0::/\n", f"memory/docker/{ID}",
         V1, 70),
        # Both versions at once: the memory is counted in the first.
        (f"4:memory:/docker/{ID}\n0::/docker/{ID}\n", f"memory/docker/{ID}", V1, 70),
        (f"0::/odd:name/{ID}\n", f"odd:name/{ID}", V2, 60),
    ],
)  # fmt: skip
def test_memory_is_read_from_the_kernel_without_cache(kernel, membership, folder, files, held):
    kernel(membership, folder, files)
    assert containers.memory(Container()) == held


@pytest.mark.parametrize(
    ("membership", "folder", "files"),
    [
        # The same process number on another machine than the engine's.
        (f"0::/docker/{OTHER}\n", f"docker/{OTHER}", V2),
        ("0::/user.slice\n", "user.slice", V2),
        ("", "", {}),
        ("nonsense\n", "", {}),
        # The namespace of a container around this process hides the path.
        (f"0::/../../docker/{ID}\n", "", {}),
        (f"0::/{ID}\n", ID, {"memory.current": "100\n"}),
        (f"0::/{ID}\n", ID, V2 | {"memory.current": "max\n"}),
        (f"0::/{ID}\n", ID, V2 | {"memory.stat": "anon 9\n"}),
    ],
)
def test_where_the_kernel_does_not_tell_the_engine_is_asked(kernel, membership, folder, files):
    kernel(membership, folder, files)
    assert containers.memory(Container()) == 1000


@pytest.mark.parametrize("pid", [0, 8])
def test_a_process_that_is_not_here_is_asked_of_the_engine(kernel, pid):
    kernel(f"0::/docker/{ID}\n", f"docker/{ID}", V2)
    assert containers.memory(Container(pid)) == 1000


def test_the_engine_is_not_asked_where_the_kernel_told(kernel):
    kernel(f"0::/docker/{ID}\n", f"docker/{ID}", V2)
    assert containers.memory(Container(stats=AssertionError("asked"))) == 60


def test_by_default_the_kernels_own_folder_is_read():
    assert Path("/sys/fs/cgroup") == containers.CGROUPS


@pytest.mark.parametrize(
    ("stats", "held"),
    [
        ({"usage": 100, "stats": {"inactive_file": 30}}, 70),
        ({"usage": 100, "stats": {"total_inactive_file": 40, "inactive_file": 1}}, 60),
        ({"usage": 100}, 100),
        ({}, 0),
    ],
)
def test_memory_leaves_out_what_the_kernel_gives_back(kernel, stats, held):
    assert containers.memory(Container(0, stats)) == held


def test_memory_of_a_container_that_is_gone_by_then_is_none(kernel):
    assert containers.memory(Container(0, NotFound("no such container"))) == 0


def test_only_a_projects_own_services_are_listed():
    asked = []
    sdk = SimpleNamespace(
        containers=SimpleNamespace(list=lambda **options: asked.append(options) or ["one"])
    )
    assert containers.of_project(sdk, "mine") == ["one"]
    labels = ["com.docker.compose.project=mine", "com.docker.compose.oneoff=False"]
    assert asked == [{"filters": {"label": labels}, "ignore_removed": True}]


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


def test_what_a_container_was_started_with_is_told_in_the_words_of_what_is_intended():
    held, meant = containers.started_with(INSPECTED), containers.intended(CONFIGURED)
    assert meant == {
        "A": "1", "B": "x=y", "C": "", "user": "1000:0", "port 8080/tcp": "127.0.0.1:8090",
    }  # fmt: skip
    assert {name: held[name] for name in meant} == meant
    assert held.keys() - meant.keys() == {"port 1/udp"}


def test_a_container_with_nothing_set_has_nothing():
    assert containers.started_with({"Config": {}}) == {"user": ""}
    assert containers.intended({}) == {}
