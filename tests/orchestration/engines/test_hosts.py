"""What each engine tells of its host before an install."""

from types import SimpleNamespace

import docker
import pytest

from orchestration.engines.docker import daemon, public_images
from orchestration.engines.docker.engine import DockerEngine
from orchestration.engines.standalone.engine import StandaloneEngine
from orchestration.engines.standalone.environment import State
from orchestration.errors import Problem
from orchestration.host import clocks, permissions
from orchestration.host.resources import Host


class NoImages:
    """None on this machine, and no registry that gives one."""

    def get(self, name):
        raise docker.errors.ImageNotFound(name)

    def get_registry_data(self, name):
        raise docker.errors.APIError("refused")


@pytest.fixture
def host(make_settings, monkeypatch, tmp_path):
    """What DockerEngine finds on this machine, with settings and figures of `docker info`.

    The user is not root, and no registry gives an image.
    """
    monkeypatch.setattr(docker, "from_env", lambda timeout: SimpleNamespace(images=NoImages()))
    monkeypatch.setattr(public_images.os, "getuid", lambda: 1000)
    monkeypatch.setattr(clocks, "ask_index", lambda settings: ("pypi.org", 2.0))

    def look(built=False, info=None, **values):
        told = {"DockerRootDir": str(tmp_path), "MemTotal": 1024**3, "NCPU": 3, **(info or {})}
        monkeypatch.setattr(daemon, "info", lambda: told)
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
    assert "No registry provides debian:bookworm-slim" in problem.cause


def test_what_is_built_asks_nobody_outside(host):
    found = host(built=True)
    assert (found.index, found.index_ahead, found.problems) == ("", None, ())


def test_docker_refuses_a_user_that_is_none_and_folders_it_may_not_use(host, clone):
    (clone / "logs").mkdir()
    (clone / "logs").chmod(0o700)
    [problem] = host(built=True, AIRFLOW_UID="me").problems
    assert problem.code == "uid-unusable"
    [problem] = host(built=True, AIRFLOW_UID="50000").problems
    assert "not allowed to write to" in problem.cause
    remapped = {"SecurityOptions": ["name=userns"]}
    assert host(built=True, info=remapped, AIRFLOW_UID="50000").problems == ()


def test_standalone_tells_where_its_data_goes(make_settings, clone, monkeypatch):
    monkeypatch.setattr(clocks, "ask_index", lambda settings: ("pypi.org", None))
    alone = StandaloneEngine(make_settings())
    alone.state = State(clone / "state" / "of" / "it")
    monkeypatch.setattr(alone, "is_built", lambda: False)
    assert alone.host() == Host(places=(clone, clone), index="pypi.org")
    monkeypatch.setattr(alone, "is_built", lambda: True)
    assert alone.host() == Host(places=(clone, clone))


def test_standalone_needs_a_place_it_may_write_to(make_settings, clone, monkeypatch):
    problem = Problem("folder-rights", "It is not writable.", "Clone elsewhere.", "machine")
    monkeypatch.setattr(permissions, "unwritable", lambda folder: problem)
    alone = StandaloneEngine(make_settings())
    alone.state = State(clone / "state")
    monkeypatch.setattr(alone, "is_built", lambda: True)
    assert alone.host().problems == (problem,)
