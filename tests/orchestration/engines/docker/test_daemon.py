"""The Docker engine asked: silent, old, or telling of itself and its machine."""

from types import SimpleNamespace

import docker
import pytest
import requests

from orchestration.engines.docker import daemon
from orchestration.errors import StackError


@pytest.mark.parametrize(
    ("reason", "way_out"),
    [
        ("PermissionError(13, 'Permission denied')", "usermod -aG docker"),
        ("FileNotFoundError(2, 'No such file or directory')", "--with-docker"),
    ],
)
def test_an_engine_that_does_not_answer_is_told_with_the_next_command(monkeypatch, reason, way_out):
    def silent(timeout):
        raise docker.errors.DockerException(f"Error: ('Connection aborted.', {reason})")

    monkeypatch.setattr(docker, "from_env", silent)
    with pytest.raises(StackError, match="No Docker engine answers") as refused:
        daemon.client()
    assert way_out in str(refused.value)
    assert (daemon.unreachable(),) == refused.value.problems


def test_an_engine_that_answers_is_reachable(monkeypatch):
    answers = SimpleNamespace(version=dict)
    monkeypatch.setattr(docker, "from_env", lambda timeout: answers)
    assert daemon.client() is answers
    assert daemon.unreachable() is None


def test_rights_that_need_a_new_login_are_not_given_twice(monkeypatch):
    def silent(timeout):
        raise docker.errors.DockerException("PermissionError(13, 'Permission denied')")

    monkeypatch.setattr(docker, "from_env", silent)
    monkeypatch.setattr(daemon, "joined", lambda group: group == "docker")
    assert "log in again" in daemon.unreachable().fix
    assert "usermod" not in daemon.unreachable().fix


@pytest.mark.parametrize(
    ("members", "number", "expected"),
    [(["me"], 77, True), (["me"], 5, False), (["you"], 77, False), (None, 77, False)],
)
def test_who_joined_a_group_after_the_login_is_known(monkeypatch, members, number, expected):
    def entry(name):
        if members is None:
            raise KeyError(name)
        return SimpleNamespace(gr_mem=members, gr_gid=number)

    monkeypatch.setattr(daemon, "grp", SimpleNamespace(getgrnam=entry))
    me = SimpleNamespace(getpwuid=lambda uid: SimpleNamespace(pw_name="me"))
    monkeypatch.setattr(daemon, "pwd", me)
    monkeypatch.setattr(daemon.os, "getgroups", lambda: [5, 6])
    assert daemon.joined("docker") is expected


@pytest.mark.parametrize(
    "silence",
    [requests.ReadTimeout("Read timed out. (read timeout=10)"), docker.errors.APIError("x")],
)
def test_an_engine_that_hangs_is_told_with_the_next_command(monkeypatch, silence):
    def version():
        raise silence

    patience = []
    answers = SimpleNamespace(version=version)
    monkeypatch.setattr(docker, "from_env", lambda timeout: patience.append(timeout) or answers)
    assert daemon.unreachable().cause.startswith("No Docker engine answers (")
    assert patience == [daemon.ENGINE_SECONDS]


def test_an_engine_that_hangs_is_to_be_restarted():
    assert "systemctl restart docker" in daemon._silence(Exception("Read timed out.")).fix


@pytest.mark.parametrize("version", ["19.03.15", "20.9.0", "1.13.1"])
def test_an_old_engine_is_a_problem_with_the_next_command(monkeypatch, version):
    answers = SimpleNamespace(version=lambda: {"Version": version})
    monkeypatch.setattr(docker, "from_env", lambda timeout: answers)
    told = daemon.unreachable()
    assert told.code == "engine-too-old"
    assert told.cause == f"Docker Engine {version} is older than 20.10."
    assert told.fix.endswith("sudo apt-get install docker.io")


@pytest.mark.parametrize("version", ["20.10.24+dfsg1", "27.3.1", "v29.0", "dev", ""])
def test_an_engine_that_is_new_enough_is_no_problem(monkeypatch, version):
    answers = SimpleNamespace(version=lambda: {"Version": version})
    monkeypatch.setattr(docker, "from_env", lambda timeout: answers)
    assert daemon.unreachable() is None


def test_what_the_engine_tells_of_its_machine_is_read(monkeypatch):
    monkeypatch.setattr(daemon, "ahead", lambda moment: moment.isoformat())
    told = {"MemTotal": 2 * 1024**3, "NCPU": 2, "SystemTime": "2026-11-24T14:02:38.123456789+01:00"}
    moment = "2026-11-24T14:02:38.123456+01:00"
    assert daemon.figures(told) == {"memory_gib": 2.0, "cpus": 2, "ahead": moment}


@pytest.mark.parametrize("told", [{}, {"MemTotal": 0, "NCPU": 0, "SystemTime": ""}])
def test_what_the_engine_does_not_tell_is_left_open(told):
    assert daemon.figures(told) == {"cpus": None}


def test_an_engine_that_does_not_tell_tells_nothing(monkeypatch):
    def info():
        raise requests.ReadTimeout

    monkeypatch.setattr(docker, "from_env", lambda timeout: SimpleNamespace(info=info))
    assert daemon.info() == {}


def test_data_is_looked_at_only_where_it_is_on_this_machine(tmp_path):
    assert daemon.data_root({"DockerRootDir": str(tmp_path)}) == [tmp_path]
    assert daemon.data_root({"DockerRootDir": str(tmp_path / "absent")}) == []
    assert daemon.data_root({}) == []


@pytest.mark.parametrize(
    ("options", "same"),
    [
        (["name=seccomp,profile=default"], True),
        (None, True),
        (["name=seccomp,profile=default", "name=rootless"], False),
        (["name=userns"], False),
    ],
)
def test_users_are_others_in_containers_of_an_engine_without_root(tmp_path, options, same):
    told = {"DockerRootDir": str(tmp_path), "SecurityOptions": options}
    assert daemon.same_users(told) is same
    assert not daemon.same_users({**told, "DockerRootDir": "/absent"})
