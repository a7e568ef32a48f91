"""The docker engine: the command line of each verb, and how the SDK's answers are read."""

import json
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from docker.errors import NotFound

from orchestration import compose, images
from orchestration.compose import DockerEngine
from orchestration.settings import SECRETS


def attributes(
    service, status="running", *, code=0, started="2026-01-02T03:04:05.678901234Z", **more
):
    """What `docker inspect` tells of a container, cut to what is read."""
    return {
        "Config": {"Labels": {"com.docker.compose.service": service}},
        "State": {"Status": status, "ExitCode": code, "StartedAt": started} | more,
        "RestartCount": 2,
    }


class Containers:
    """The SDK's containers of a machine; keeps how it was asked."""

    def __init__(self, *found):
        self.found, self.asked = found, []

    def list(self, **options):
        self.asked.append(options)
        return list(self.found)


@pytest.fixture
def docker(make_settings, recorded):
    """The engine with recorded commands and a compose file of three services."""
    recorded.outputs = {
        "compose config": json.dumps(
            {"services": {"postgres": {}, "airflow-init": {}, "mlflow": {}}}
        )
    }
    docker = DockerEngine(make_settings())
    docker.__dict__["sdk"] = SimpleNamespace(containers=Containers())
    return docker


@pytest.mark.parametrize(
    ("act", "line"),
    [
        (lambda docker: docker.up(), "docker compose up -d --no-build --remove-orphans"),
        (lambda docker: docker.down(volumes=False), "docker compose down --remove-orphans"),
        (
            lambda docker: docker.down(volumes=True),
            "docker compose down --remove-orphans --volumes",
        ),
        (
            lambda docker: docker.logs([], tail=100, since="", follow=False),
            "docker compose logs --tail=100",
        ),
        (
            lambda docker: docker.logs(["mlflow"], tail=5, since="10m", follow=True),
            "docker compose logs --tail=5 --since 10m --follow mlflow",
        ),
        (
            lambda docker: docker.tail("redis", 7),
            "docker compose logs --tail=7 --no-log-prefix --no-color redis",
        ),
    ],
)
def test_every_verb_is_one_compose_command(docker, recorded, act, line):
    act(docker)
    assert recorded.lines == [line]


def test_commands_run_beside_the_compose_file_with_our_environment_alone(docker, recorded, clone):
    docker.up()
    [command] = recorded.commands
    assert command.cwd == clone / "orchestration"
    assert command.env == {**docker.settings.compose_environment(), "DOCKER_BUILDKIT": "1"}


def test_no_secret_is_in_a_command_line(docker, recorded):
    docker.up()
    docker.tail("redis", 1)
    docker.logs(["redis"], tail=1, since="", follow=False)
    docker.down(volumes=True)
    assert len(recorded.lines) == 4
    told = " ".join(recorded.lines)
    assert not [name for name in SECRETS if docker.settings[name] in told]


def test_build_provides_public_images_first(docker, recorded, monkeypatch):
    monkeypatch.setattr(
        images, "provide", lambda sdk, settings: recorded.commands.append("public images")
    )
    docker.build()
    assert recorded.lines == ["public images", "docker compose build"]


def test_services_are_those_of_the_compose_file_asked_once(docker, recorded):
    assert list(docker.services()) == ["postgres", "airflow-init", "mlflow"]
    assert list(docker.services()) == ["postgres", "airflow-init", "mlflow"]
    assert recorded.lines == ["docker compose config --format json"]


def test_ps_tells_of_every_service_also_of_one_without_a_container(docker):
    docker.sdk.containers.found = [
        SimpleNamespace(attrs=attributes("mlflow", Health={"Status": "starting"})),
        SimpleNamespace(attrs=attributes("airflow-init", "exited", code=3)),
    ]
    postgres, init, mlflow = docker.ps()
    assert (postgres.name, postgres.state, postgres.since) == ("postgres", "absent", None)
    assert (init.name, init.state, init.exit_code, init.health) == ("airflow-init", "exited", 3, "")
    assert (mlflow.state, mlflow.health, mlflow.restarts) == ("running", "starting", 2)
    assert mlflow.since == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_ps_asks_for_all_containers_of_this_project_alone(docker):
    docker.ps()
    [asked] = docker.sdk.containers.asked
    assert asked["all"] is True
    assert asked["filters"]["label"] == [
        f"com.docker.compose.project={docker.settings.project}",
        "com.docker.compose.oneoff=False",
    ]


def test_a_container_that_vanishes_meanwhile_is_no_error(docker):
    docker.ps()
    assert docker.sdk.containers.asked[0].get("ignore_removed") is True


def test_a_container_that_never_started_has_no_time(docker):
    never = attributes("mlflow", "created", started="0001-01-01T00:00:00Z")
    docker.sdk.containers.found = [SimpleNamespace(attrs=never)]
    assert docker.ps()[2].since is None


@pytest.mark.parametrize(
    ("stats", "held"),
    [
        ({"usage": 100, "stats": {"inactive_file": 30}}, 70),
        ({"usage": 100, "stats": {"total_inactive_file": 40, "inactive_file": 1}}, 60),
        ({"usage": 100}, 100),
        ({}, 0),
    ],
)
def test_memory_leaves_out_what_the_kernel_gives_back(docker, stats, held):
    class Container:
        labels = {"com.docker.compose.service": "mlflow"}  # noqa: RUF012

        def stats(self, **options):
            assert options == {"stream": False, "one_shot": True}
            return {"memory_stats": stats}

    docker.sdk.containers.found = [Container()]
    assert docker.memory() == {"mlflow": held}


def test_memory_of_a_container_that_is_gone_by_then_is_none(docker):
    class Gone:
        labels = {"com.docker.compose.service": "mlflow"}  # noqa: RUF012

        def stats(self, **options):
            raise NotFound("no such container")

    docker.sdk.containers.found = [Gone()]
    assert docker.memory() == {"mlflow": 0}


def test_it_is_built_when_the_clones_and_the_public_images_are_there(docker, monkeypatch):
    asked, missing = [], []

    def absent(sdk, names):
        asked.extend(names)
        return missing

    monkeypatch.setattr(images, "absent", absent)
    assert docker.is_built()
    project = docker.settings.project
    assert asked == [
        f"{project}-airflow",
        f"{project}-mlflow",
        f"{project}-status",
        "postgres:16",
        "redis:7.2-bookworm",
    ]
    missing.append("postgres:16")
    assert not docker.is_built()


def test_surviving_data_are_the_volumes_of_this_project(docker):
    class Volumes:
        def list(self, filters):
            mine = f"com.docker.compose.project={docker.settings.project}"
            return [SimpleNamespace(name="mine_postgres")] if filters == {"label": mine} else []

    docker.sdk.volumes = Volumes()
    assert docker.surviving_data() == ["mine_postgres"]


@pytest.mark.parametrize("version", ["2.20.0", "v2.26.1-4", "5.0.2", "2.29.7-desktop.1"])
def test_a_compose_that_is_new_enough_is_no_problem(docker, recorded, monkeypatch, version):
    monkeypatch.setattr(images, "unreachable", lambda: "")
    recorded.outputs = {"version --short": f"{version}\n"}
    assert docker.problems() == []


@pytest.mark.parametrize("version", ["2.19.1", "1.29.2", "v2.3.4"])
def test_an_old_compose_is_a_problem_with_the_next_command(docker, recorded, monkeypatch, version):
    monkeypatch.setattr(images, "unreachable", lambda: "")
    recorded.outputs = {"version --short": f"{version}\n"}
    [problem] = docker.problems()
    assert problem == f"Compose {version} is older than 2.20: {compose.WITH_DOCKER}"


def test_no_engine_and_no_compose_are_told_together(docker, recorded, monkeypatch):
    monkeypatch.setattr(images, "unreachable", lambda: "no Docker engine answers")
    recorded.failures = {"version --short": "unknown command"}
    engine, version = docker.problems()
    assert engine == "no Docker engine answers"
    assert version.startswith("`docker compose` does not answer")


def test_the_sdk_is_made_when_it_is_needed(make_settings, monkeypatch):
    monkeypatch.setattr(images, "client", lambda: "client")
    assert DockerEngine(make_settings()).sdk == "client"
