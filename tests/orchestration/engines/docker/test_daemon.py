"""Docker engines that do not answer or are too old, and the facts that they report."""

from types import SimpleNamespace

import docker
import pytest
import requests

from orchestration.engines.docker import daemon
from orchestration.engines.docker.engine import DockerEngine
from orchestration.errors import StackError


@pytest.mark.parametrize(
    ("reason", "fix"),
    [
        ("PermissionError(13, 'Permission denied')", "usermod -aG docker"),
        ("FileNotFoundError(2, 'No such file or directory')", "--with-docker"),
    ],
)
def test_client_without_an_engine_fails_with_the_fix(monkeypatch, reason, fix):
    def refuse(timeout):
        raise docker.errors.DockerException(f"Error: ('Connection aborted.', {reason})")

    monkeypatch.setattr(docker, "from_env", refuse)
    with pytest.raises(StackError, match="No Docker engine answers") as error:
        daemon.client()
    assert fix in str(error.value)
    assert (daemon.engine_problem(),) == error.value.problems


def test_engine_problem_of_an_engine_that_answers_is_none(monkeypatch):
    client = SimpleNamespace(version=dict, info=dict)
    monkeypatch.setattr(docker, "from_env", lambda timeout: client)
    assert daemon.client() is client
    assert daemon.engine_problem() is None


def test_engine_problem_of_a_new_group_member_asks_for_a_login(monkeypatch):
    def refuse(timeout):
        raise docker.errors.DockerException("PermissionError(13, 'Permission denied')")

    monkeypatch.setattr(docker, "from_env", refuse)
    monkeypatch.setattr(daemon, "needs_login", lambda group: group == "docker")
    assert "Log in again" in daemon.engine_problem().fix
    assert "usermod" not in daemon.engine_problem().fix


@pytest.mark.parametrize(
    ("members", "number", "expected"),
    [(["me"], 77, True), (["me"], 5, False), (["you"], 77, False), (None, 77, False)],
)
def test_needs_login_after_joining_a_group(monkeypatch, members, number, expected):
    def entry(name):
        if members is None:
            raise KeyError(name)
        return SimpleNamespace(gr_mem=members, gr_gid=number)

    monkeypatch.setattr(daemon, "grp", SimpleNamespace(getgrnam=entry))
    me = SimpleNamespace(getpwuid=lambda uid: SimpleNamespace(pw_name="me"))
    monkeypatch.setattr(daemon, "pwd", me)
    monkeypatch.setattr(daemon.os, "getgroups", lambda: [5, 6])
    assert daemon.needs_login("docker") is expected


@pytest.mark.parametrize(
    "error",
    [requests.ReadTimeout("Read timed out. (read timeout=10)"), docker.errors.APIError("x")],
)
def test_engine_problem_of_an_engine_that_hangs(monkeypatch, error):
    def version():
        raise error

    timeouts = []
    client = SimpleNamespace(version=version)
    monkeypatch.setattr(docker, "from_env", lambda timeout: timeouts.append(timeout) or client)
    assert daemon.engine_problem().cause.startswith("No Docker engine answers (")
    assert timeouts == [daemon.ENGINE_SECONDS]


def test_fix_of_an_engine_that_hangs_is_a_restart():
    assert "systemctl restart docker" in daemon._no_answer(Exception("Read timed out.")).fix


@pytest.mark.parametrize("version", ["19.03.15", "20.9.0", "1.13.1"])
def test_engine_problem_of_an_old_engine(monkeypatch, version):
    client = SimpleNamespace(version=lambda: {"Version": version}, info=dict)
    monkeypatch.setattr(docker, "from_env", lambda timeout: client)
    problem = daemon.engine_problem()
    assert problem.code == "engine-too-old"
    assert problem.cause == f"Docker Engine {version} is older than 20.10."
    assert problem.fix.endswith("sudo apt-get install docker.io")


@pytest.mark.parametrize("version", ["20.10.24+dfsg1", "27.3.1", "v29.0", "dev", ""])
def test_engine_problem_of_a_new_engine_is_none(monkeypatch, version):
    client = SimpleNamespace(version=lambda: {"Version": version}, info=dict)
    monkeypatch.setattr(docker, "from_env", lambda timeout: client)
    assert daemon.engine_problem() is None


# As Debian 12's Podman answers on its Docker-compatible socket.
PODMAN = {
    "Platform": {"Name": "linux/amd64/debian-12"},
    "Components": [
        {"Name": "Podman Engine", "Version": "4.3.1", "Details": {"APIVersion": "4.3.1"}},
        {"Name": "Conmon", "Version": "conmon version 2.1.6, commit: unknown"},
    ],
    "Version": "4.3.1", "ApiVersion": "1.41",
}  # fmt: skip
DOCKER = {"Version": "27.3.1", "Components": [{"Name": "Engine", "Version": "27.3.1"}]}
ROOTLESS = {"SecurityOptions": ["name=seccomp,profile=default", "name=rootless"]}


@pytest.mark.parametrize(
    ("version", "info", "answers"),
    [
        (PODMAN, {}, "Podman 4.3.1 answers on Docker's socket."),
        (DOCKER, ROOTLESS, "Docker Engine 27.3.1 in rootless mode answers."),
    ],
)
def test_unsupported_engine_is_one_problem_that_names_it(
    monkeypatch, make_settings, version, info, answers
):
    client = SimpleNamespace(version=lambda: version, info=lambda: info)
    monkeypatch.setattr(docker, "from_env", lambda timeout: client)
    # Without Compose v2 there would be a second problem.
    monkeypatch.setenv("PATH", "")
    [problem] = DockerEngine(make_settings()).problems()
    assert problem.code == "engine-unsupported"
    assert problem.cause.startswith(answers)
    assert "STACK_ENGINE=standalone" in problem.fix
    assert "\n" not in str(problem.cause)


def test_engine_problem_of_remapped_users_is_none(monkeypatch):
    client = SimpleNamespace(
        version=lambda: DOCKER, info=lambda: {"SecurityOptions": ["name=userns"]}
    )
    monkeypatch.setattr(docker, "from_env", lambda timeout: client)
    assert daemon.engine_problem() is None


def test_machine_facts_are_read_from_docker_info(monkeypatch):
    monkeypatch.setattr(daemon, "seconds_ahead", lambda moment: moment.isoformat())
    info = {"MemTotal": 2 * 1024**3, "NCPU": 2, "SystemTime": "2026-11-24T14:02:38.123456789+01:00"}
    moment = "2026-11-24T14:02:38.123456+01:00"
    assert daemon.machine_facts(info) == {"memory_gib": 2.0, "cpus": 2, "clock_ahead": moment}


@pytest.mark.parametrize("info", [{}, {"MemTotal": 0, "NCPU": 0, "SystemTime": ""}])
def test_machine_facts_leave_unknown_values_open(info):
    assert daemon.machine_facts(info) == {"cpus": None}


def test_info_without_an_answer_is_empty(monkeypatch):
    def info():
        raise requests.ReadTimeout

    monkeypatch.setattr(docker, "from_env", lambda timeout: SimpleNamespace(info=info))
    assert daemon.info() == {}


def test_data_root_is_a_folder_of_this_machine(tmp_path):
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
def test_same_uids_unless_remapped_or_on_another_machine(tmp_path, options, same):
    info = {"DockerRootDir": str(tmp_path), "SecurityOptions": options}
    assert daemon.same_uids(info) is same
    assert not daemon.same_uids({**info, "DockerRootDir": "/absent"})
