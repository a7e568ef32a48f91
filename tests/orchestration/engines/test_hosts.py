"""The host facts and problems that each engine reports before an install."""

from types import SimpleNamespace

import docker
import pytest

from orchestration.engines.docker import daemon, public_images
from orchestration.engines.docker.engine import DockerEngine
from orchestration.engines.standalone.engine import StandaloneEngine
from orchestration.engines.standalone.environment import State
from orchestration.errors import Problem
from orchestration.host import clocks, file_modes, permissions
from orchestration.host.resources import Host


class NoImages:
    """No images on this machine, and no registry that provides one."""

    def get(self, name):
        raise docker.errors.ImageNotFound(name)

    def get_registry_data(self, name):
        raise docker.errors.APIError("refused")


@pytest.fixture
def host(make_settings, monkeypatch, tmp_path):
    """Return a function that calls DockerEngine.host with settings and values of `docker info`.

    The user is not root, and no registry provides an image.
    """
    monkeypatch.setattr(docker, "from_env", lambda timeout: SimpleNamespace(images=NoImages()))
    monkeypatch.setattr(public_images.os, "getuid", lambda: 1000)
    monkeypatch.setattr(clocks, "read_index_clock", lambda settings: ("pypi.org", 2.0))

    def call(built=False, info=None, **values):
        answer = {"DockerRootDir": str(tmp_path), "MemTotal": 1024**3, "NCPU": 3, **(info or {})}
        monkeypatch.setattr(daemon, "info", lambda: answer)
        engine = DockerEngine(make_settings(**values))
        monkeypatch.setattr(engine, "is_built", lambda: built)
        return engine.host()

    return call


def test_docker_host_has_machine_facts_and_problems_of_a_first_build(host, clone, tmp_path):
    result = host()
    assert (result.memory_gib, result.cpus) == (1.0, 3)
    assert result.folders == (clone, tmp_path)
    assert (result.index, result.index_ahead) == ("pypi.org", 2.0)
    [problem] = result.problems
    assert "No registry provides debian:bookworm-slim" in problem.cause


def test_docker_host_after_a_build_makes_no_network_requests(host):
    result = host(built=True)
    assert (result.index, result.index_ahead, result.problems) == ("", None, ())


def test_docker_host_reports_invalid_uid_and_unwritable_folders(host, clone):
    (clone / "logs").mkdir()
    (clone / "logs").chmod(0o700)
    [problem] = host(built=True, AIRFLOW_UID="0").problems
    assert problem.code == "uid-unusable"
    [problem] = host(built=True, AIRFLOW_UID="50000").problems
    assert "not allowed to write to" in problem.cause
    remapped = {"SecurityOptions": ["name=userns"]}
    assert host(built=True, info=remapped, AIRFLOW_UID="50000").problems == ()


def test_docker_host_reports_closed_files_of_another_user_once(host, clone, monkeypatch):
    (clone / "orchestration/config").mkdir()
    (clone / "orchestration/config").chmod(0o700)
    for name in ("start.sh", "redis.conf"):
        (clone / "orchestration/config" / name).touch(0o600)
    owner = clone.stat().st_uid
    monkeypatch.setattr(file_modes.os, "getuid", lambda: owner)
    # The build opens a user's own files.
    assert host(built=True, AIRFLOW_UID="50000").problems == ()
    monkeypatch.setattr(file_modes.os, "getuid", lambda: owner + 1)
    [problem] = host(built=True, AIRFLOW_UID="50000").problems
    assert problem.fix == f"sudo chmod -R a+rX {clone}/orchestration/config"


def test_standalone_host_has_the_folder_of_its_data(make_settings, clone, monkeypatch):
    monkeypatch.setattr(clocks, "read_index_clock", lambda settings: ("pypi.org", None))
    standalone = StandaloneEngine(make_settings())
    standalone.state = State(clone / "state" / "of" / "it")
    monkeypatch.setattr(standalone, "is_built", lambda: False)
    assert standalone.host() == Host(folders=(clone, clone), index="pypi.org")
    monkeypatch.setattr(standalone, "is_built", lambda: True)
    assert standalone.host() == Host(folders=(clone, clone))


def test_standalone_host_reports_an_unwritable_folder(make_settings, clone, monkeypatch):
    problem = Problem("folder-rights", "It is not writable.", "Clone elsewhere.", "machine")
    monkeypatch.setattr(permissions, "unwritable", lambda folder: problem)
    standalone = StandaloneEngine(make_settings())
    standalone.state = State(clone / "state")
    monkeypatch.setattr(standalone, "is_built", lambda: True)
    assert standalone.host().problems == (problem,)
