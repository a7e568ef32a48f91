"""Public images: there, pulled, or made here; and what is said where none of it goes."""

from types import SimpleNamespace

import docker
import pytest
import requests

from orchestration import StackError, images, preflight
from orchestration.compose import DockerEngine
from orchestration.engine import Host
from orchestration.standalone import StandaloneEngine
from orchestration.surroundings import State


class Machine:
    """A docker SDK: the images of this machine and those a registry would give."""

    def __init__(self, here=(), offered=()):
        self.here, self.offered = set(here), set(offered)
        self.silence = docker.errors.APIError("refused")
        self.images = self

    def get(self, name):
        if name not in self.here:
            raise docker.errors.ImageNotFound(name)

    def get_registry_data(self, name):
        if name not in self.offered:
            raise self.silence


PUBLIC = ("debian:bookworm-slim", "postgres:16", "redis:7.2-bookworm")


@pytest.fixture
def machine(monkeypatch):
    """A machine without any image, and without a registry."""
    machine = Machine()
    monkeypatch.setattr(docker, "from_env", lambda timeout: machine)
    return machine


def test_absent_names_what_is_not_here(machine):
    machine.here = {"a", "c"}
    assert images.absent(machine, ["a", "b", "c", "d"]) == ["b", "d"]


def test_nothing_is_done_where_all_is_here(machine, make_settings, recorded):
    machine.here = set(PUBLIC)
    images.provide(machine, make_settings())
    assert recorded.lines == []


def test_what_a_registry_gives_is_pulled(machine, make_settings, recorded, capsys):
    machine.here, machine.offered = {PUBLIC[0]}, set(PUBLIC)
    images.provide(machine, make_settings())
    assert recorded.lines == ["docker pull postgres:16", "docker pull redis:7.2-bookworm"]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("silence", [docker.errors.APIError("refused"), requests.ReadTimeout()])
def test_what_no_registry_gives_is_made_base_first(
    machine, make_settings, recorded, clone, capsys, silence
):
    machine.silence = silence
    images.provide(machine, make_settings())
    debian, stand_ins = recorded.commands
    assert debian.argv == ("sh", str(clone / "install/base/debian.sh"), "debian:bookworm-slim")
    file = str(clone / "install/base/compose.yaml")
    compose = ("docker", "compose", "--progress=plain", "-f", file)
    assert stand_ins.argv == (*compose, "build", "postgres", "redis")
    told = capsys.readouterr().out
    assert told.startswith(f"no registry gives {', '.join(PUBLIC)}")


def test_stand_ins_do_not_become_part_of_the_stack(machine, make_settings, recorded):
    images.provide(machine, make_settings())
    environment = recorded.commands[-1].env
    assert "COMPOSE_PROJECT_NAME" not in environment
    assert environment["POSTGRES_IMAGE"] == "postgres:16"


def test_only_what_is_missing_is_made(machine, make_settings, recorded):
    machine.here = {PUBLIC[0], PUBLIC[1]}
    images.provide(machine, make_settings())
    [command] = recorded.commands
    assert command.argv[-2:] == ("build", "redis")


def test_an_airflow_base_that_nobody_gives_is_refused_with_the_way_out(
    machine, make_settings, recorded
):
    machine.here = set(PUBLIC)
    with pytest.raises(StackError) as refused:
        images.provide(machine, make_settings(AIRFLOW_BASE_IMAGE="apache/airflow:3.0.1"))
    assert "no registry gives apache/airflow:3.0.1" in str(refused.value)
    assert "AIRFLOW_BASE_IMAGE=debian:bookworm-slim" in str(refused.value)
    assert recorded.lines == []


@pytest.mark.parametrize(
    ("setting", "image"), [("POSTGRES_IMAGE", "postgres:17"), ("REDIS_IMAGE", "valkey:8")]
)
def test_an_image_that_cannot_be_made_here_is_refused(
    machine, make_settings, recorded, setting, image
):
    machine.here = set(PUBLIC)
    with pytest.raises(StackError, match=f"no registry gives {image}.*set {setting} in .env"):
        images.provide(machine, make_settings(**{setting: image}))
    assert recorded.lines == []


def test_a_registrys_own_name_before_the_image_may_stand(machine, make_settings, recorded):
    machine.here = set(PUBLIC)
    images.provide(machine, make_settings(POSTGRES_IMAGE="mirror.example:5000/lib/postgres:16.4"))
    assert recorded.commands[-1].argv[-2:] == ("build", "postgres")


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
    with pytest.raises(StackError, match="no Docker engine answers") as refused:
        images.client()
    assert way_out in str(refused.value)
    assert images.unreachable() == str(refused.value)


def test_an_engine_that_answers_is_reachable(monkeypatch):
    answers = SimpleNamespace(version=dict)
    monkeypatch.setattr(docker, "from_env", lambda timeout: answers)
    assert images.client() is answers
    assert images.unreachable() == ""


# Before an install


def test_rights_that_need_a_new_login_are_not_given_twice(monkeypatch):
    def silent(timeout):
        raise docker.errors.DockerException("PermissionError(13, 'Permission denied')")

    monkeypatch.setattr(docker, "from_env", silent)
    monkeypatch.setattr(images, "joined", lambda group: group == "docker")
    assert "log in again" in images.unreachable()
    assert "usermod" not in images.unreachable()


@pytest.mark.parametrize(
    ("members", "number", "expected"),
    [(["me"], 77, True), (["me"], 5, False), (["you"], 77, False), (None, 77, False)],
)
def test_who_joined_a_group_after_the_login_is_known(monkeypatch, members, number, expected):
    def entry(name):
        if members is None:
            raise KeyError(name)
        return SimpleNamespace(gr_mem=members, gr_gid=number)

    monkeypatch.setattr(images, "grp", SimpleNamespace(getgrnam=entry))
    me = SimpleNamespace(getpwuid=lambda uid: SimpleNamespace(pw_name="me"))
    monkeypatch.setattr(images, "pwd", me)
    monkeypatch.setattr(images.os, "getgroups", lambda: [5, 6])
    assert images.joined("docker") is expected


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
    assert images.unreachable().startswith("no Docker engine answers (")
    assert patience == [images.ENGINE_SECONDS]


def test_an_engine_that_hangs_is_to_be_restarted():
    assert "systemctl restart docker" in images._silence(Exception("Read timed out."))


@pytest.mark.parametrize("version", ["19.03.15", "20.9.0", "1.13.1"])
def test_an_old_engine_is_a_problem_with_the_next_command(monkeypatch, version):
    answers = SimpleNamespace(version=lambda: {"Version": version})
    monkeypatch.setattr(docker, "from_env", lambda timeout: answers)
    told = images.unreachable()
    assert told.startswith(f"Docker Engine {version} is older than 20.10: ")
    assert told.endswith("sudo apt-get install docker.io")


@pytest.mark.parametrize("version", ["20.10.24+dfsg1", "27.3.1", "v29.0", "dev", ""])
def test_an_engine_that_is_new_enough_is_no_problem(monkeypatch, version):
    answers = SimpleNamespace(version=lambda: {"Version": version})
    monkeypatch.setattr(docker, "from_env", lambda timeout: answers)
    assert images.unreachable() == ""


def test_what_the_engine_tells_of_its_machine_is_read(monkeypatch):
    monkeypatch.setattr(images, "ahead", lambda moment: moment.isoformat())
    told = {"MemTotal": 2 * 1024**3, "NCPU": 2, "SystemTime": "2026-11-24T14:02:38.123456789+01:00"}
    moment = "2026-11-24T14:02:38.123456+01:00"
    assert images.figures(told) == {"memory_gib": 2.0, "cpus": 2, "ahead": moment}


@pytest.mark.parametrize("told", [{}, {"MemTotal": 0, "NCPU": 0, "SystemTime": ""}])
def test_what_the_engine_does_not_tell_is_left_open(told):
    assert images.figures(told) == {"cpus": None}


def test_an_engine_that_does_not_tell_tells_nothing(monkeypatch):
    def info():
        raise requests.ReadTimeout

    monkeypatch.setattr(docker, "from_env", lambda timeout: SimpleNamespace(info=info))
    assert images.info() == {}


def test_data_is_looked_at_only_where_it_is_on_this_machine(tmp_path):
    assert images.data_root({"DockerRootDir": str(tmp_path)}) == [tmp_path]
    assert images.data_root({"DockerRootDir": str(tmp_path / "absent")}) == []
    assert images.data_root({}) == []


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
    assert images.same_users(told) is same
    assert not images.same_users({**told, "DockerRootDir": "/absent"})


@pytest.fixture
def person(monkeypatch):
    """A user without root's rights."""
    monkeypatch.setattr(images.os, "getuid", lambda: 1000)


def test_a_base_that_only_root_could_make_is_a_problem(machine, make_settings, person):
    told = images.base_problem(machine, make_settings())
    assert told.endswith("needs root: sudo install/base/debian.sh debian:bookworm-slim")
    machine.silence = requests.ReadTimeout()
    assert images.base_problem(machine, make_settings()) == told


def test_a_base_that_is_here_or_given_is_no_problem(machine, make_settings, person):
    machine.offered = {PUBLIC[0]}
    assert images.base_problem(machine, make_settings()) == ""
    machine.here, machine.offered = {PUBLIC[0]}, set()
    assert images.base_problem(machine, make_settings()) == ""


def test_root_makes_the_base_without_asking_a_registry(machine, make_settings, monkeypatch):
    monkeypatch.setattr(images.os, "getuid", lambda: 0)
    monkeypatch.setattr(images, "_offered", lambda name: pytest.fail("asked"))
    assert images.base_problem(machine, make_settings()) == ""


@pytest.fixture
def host(machine, make_settings, monkeypatch, tmp_path, person):
    """What DockerEngine finds on this machine, with settings and figures of `docker info`."""
    monkeypatch.setattr(preflight, "ask_index", lambda settings: ("pypi.org", 2.0))

    def look(built=False, info=None, **values):
        told = {"DockerRootDir": str(tmp_path), "MemTotal": 1024**3, "NCPU": 3, **(info or {})}
        monkeypatch.setattr(images, "info", lambda: told)
        engine = DockerEngine(make_settings(**values))
        monkeypatch.setattr(engine, "is_built", lambda: built)
        return engine.host()

    return look


def test_docker_tells_its_machine_and_what_a_first_build_lacks(host, clone, tmp_path):
    found = host()
    assert (found.memory_gib, found.cpus) == (1.0, 3)
    assert found.places == (clone, tmp_path)
    assert (found.index, found.index_ahead) == ("pypi.org", 2.0)
    [problem] = found.problems
    assert "no registry gives debian:bookworm-slim" in problem


def test_what_is_built_asks_nobody_outside(host):
    found = host(built=True)
    assert (found.index, found.index_ahead, found.problems) == ("", None, ())


def test_docker_refuses_a_user_that_is_none_and_folders_it_may_not_use(host, clone):
    (clone / "logs").mkdir()
    (clone / "logs").chmod(0o700)
    [problem] = host(built=True, AIRFLOW_UID="me").problems
    assert problem.startswith("AIRFLOW_UID=me is not a user's number")
    [problem] = host(built=True, AIRFLOW_UID="50000").problems
    assert "may not write to" in problem
    remapped = {"SecurityOptions": ["name=userns"]}
    assert host(built=True, info=remapped, AIRFLOW_UID="50000").problems == ()


def test_standalone_tells_where_its_data_goes(make_settings, clone, monkeypatch):
    monkeypatch.setattr(preflight, "ask_index", lambda settings: ("pypi.org", None))
    alone = StandaloneEngine(make_settings())
    alone.state = State(clone / "state" / "of" / "it")
    monkeypatch.setattr(alone, "is_built", lambda: False)
    assert alone.host() == Host(places=(clone, clone), index="pypi.org")
    monkeypatch.setattr(alone, "is_built", lambda: True)
    assert alone.host() == Host(places=(clone, clone))


def test_standalone_needs_a_place_it_may_write_to(make_settings, clone, monkeypatch):
    monkeypatch.setattr(preflight, "unwritable", lambda folder: f"{folder} is not writable")
    alone = StandaloneEngine(make_settings())
    alone.state = State(clone / "state")
    monkeypatch.setattr(alone, "is_built", lambda: True)
    assert alone.host().problems == (f"{clone} is not writable",)
