"""The docker engine: the command line of each verb, and how the SDK's answers are read."""

import json
import os
import threading
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from docker.errors import ImageNotFound

from orchestration.engines.base import IMAGES, ONE_SHOTS, runtime_module
from orchestration.engines.docker import containers, daemon, public_images, rollout
from orchestration.engines.docker import engine as docker_engine
from orchestration.engines.docker.containers import SERVICE_LABEL
from orchestration.engines.docker.engine import DockerEngine
from orchestration.errors import StackError
from orchestration.process import runner, wait
from orchestration.settings.model import SECRETS
from orchestration.tls import certificates


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


class Images:
    """The SDK's images of a machine: what each name stands for."""

    def __init__(self, **known):
        self.known = known

    def get(self, name):
        if name not in self.known:
            raise ImageNotFound(name)
        content = self.known[name]
        return SimpleNamespace(tag=lambda other: self.known.update({other: content}))

    def remove(self, name):
        del self.known[name]


@pytest.fixture
def docker(make_settings, recorded):
    """The engine with recorded commands and a compose file of three services."""
    recorded.outputs = {
        "compose config": json.dumps(
            {"services": {"postgres": {}, "airflow-init": {}, "mlflow": {}}}
        )
    }
    docker = DockerEngine(make_settings())
    docker.project.__dict__["sdk"] = SimpleNamespace(containers=Containers(), images=Images())
    return docker


@pytest.mark.parametrize(
    ("act", "line"),
    [
        (lambda docker: docker.up(), "docker compose up -d --no-build --remove-orphans"),
        (
            lambda docker: docker.up(["postgres"]),
            "docker compose up -d --no-build --remove-orphans postgres",
        ),
        (lambda docker: docker.stop(["mlflow", "redis"]), "docker compose stop mlflow redis"),
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
        (
            lambda docker: docker.tail("redis", 7, datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)),
            "docker compose logs --tail=7 --since=2026-01-02T03:04:05Z --no-log-prefix --no-color "
            "redis",
        ),
        (lambda docker: docker.restart(["redis", "mlflow"]), "docker compose restart redis mlflow"),
    ],
)
def test_every_verb_is_one_compose_command(docker, recorded, act, line):
    act(docker)
    assert recorded.lines == [line]


@pytest.mark.parametrize(("volumes", "more"), [(False, ""), (True, " --volumes")])
def test_down_lets_the_worker_end_its_tasks_while_all_else_is_there(
    docker, recorded, volumes, more
):
    docker.down(volumes=volumes)
    assert recorded.lines == [
        "docker compose stop airflow-worker",
        f"docker compose --profile tls down --remove-orphans{more}",
        "docker network prune --force --filter "
        f"label=com.docker.compose.project={docker.settings.project}",
    ]


def test_the_end_of_a_log_has_no_marks_for_a_terminal(docker, recorded):
    recorded.outputs = {"compose logs": f"{docker_engine.ERASE}one\n{docker_engine.ERASE}two\n"}
    assert docker.tail("redis", 2) == "one\ntwo"


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
    assert len(recorded.lines) == 6
    told = " ".join(recorded.lines)
    assert not [name for name in SECRETS if docker.settings[name] in told]


@pytest.fixture
def built(recorded, monkeypatch):
    """Public images are there; that they were provided is noted among the commands."""
    monkeypatch.setattr(
        public_images, "provide", lambda sdk, settings: recorded.commands.append("public images")
    )


def test_build_provides_public_images_first(docker, recorded, built):
    docker.build()
    assert recorded.lines == [
        "public images",
        "docker compose --progress=plain build airflow-init mlflow-migrate status",
    ]


def test_only_the_images_asked_for_are_built(docker, recorded, built):
    docker.build(["mlflow"])
    assert recorded.lines[-1] == "docker compose --progress=plain build mlflow-migrate"


def test_the_candidates_name_is_used_for_building_and_for_nothing_else(docker, recorded, built):
    docker.build()
    built_by = recorded.commands[-1]
    assert built_by.env["COMPOSE_PROJECT_NAME"] == f"{docker.settings.project}-candidate"
    recorded.commands.clear()
    docker.up()
    docker.replace("mlflow")
    docker.replace("airflow-worker")
    docker.restart(["mlflow"])
    docker.run("mlflow", ["bash"])
    docker.logs([], tail=1, since="", follow=False)
    docker.tail("mlflow", 1)
    docker.down(volumes=False)
    composed = [command for command in recorded.commands if command.argv[1] == "compose"]
    projects = {command.env["COMPOSE_PROJECT_NAME"] for command in composed}
    assert projects == {docker.settings.project}


def test_logs_go_to_a_terminal_as_compose_colours_them(docker, recorded, monkeypatch):
    shown = []
    monkeypatch.setattr(docker_engine.sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(runner, "attach", lambda command: shown.append(str(command)) or 7)
    assert docker.logs(["redis"], tail=1, since="", follow=False) == 7
    assert shown == ["docker compose logs --tail=1 redis"]
    assert recorded.lines == []


def test_logs_for_a_pipe_are_plain_lines(docker, recorded, capsys):
    recorded.outputs = {"compose logs": f"{docker_engine.ERASE}redis  | one\nredis  | two\n"}
    assert docker.logs(["redis"], tail=2, since="", follow=True) == 0
    assert capsys.readouterr().out == "redis  | one\nredis  | two\n"


def test_followed_logs_that_are_interrupted_end_as_in_a_shell(docker, monkeypatch):
    def interrupted(command, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "run", interrupted)
    assert docker.logs([], tail=2, since="", follow=True) == runner.INTERRUPTED


# What was built: looked at, adopted, tidied

SECRET = "s3cr3t$$word"  # pragma: allowlist secret
PARSER = {
    "user": "50000:0",
    "environment": {"AIRFLOW__CORE__FERNET_KEY": SECRET, "DO_NOT_TRACK": "1"},
    "volumes": [
        {"type": "bind", "source": "/clone/dags", "target": "/opt/airflow/dags"},
        {"type": "bind", "source": "/clone/config", "target": "/opt/stack"},
        {"type": "volume", "source": "airflow_data", "target": "/opt/airflow/data"},
    ],
    "networks": {"back": None, "egress": None},
}


@pytest.fixture
def checking(docker, recorded):
    """The compose file tells who parses DAGs; Compose has doubled each $ of its own."""
    document = {
        "services": {"airflow-dag-processor": PARSER},
        "networks": {"back": {"name": "mine_back"}, "egress": {"name": "mine_egress"}},
    }
    told = json.dumps(document).replace("$", "$$")
    recorded.outputs = {"compose config": told, "docker create": "WARNING: no swap\nf00d\n"}
    return docker


def creating(recorded):
    """The command that made the container of the import check."""
    return next(command for command in recorded.commands if "create" in command.argv)


def test_dags_are_imported_in_the_candidate_as_the_one_that_parses_them_is(checking, recorded):
    assert checking.import_errors() == ""
    argv = creating(recorded).argv
    assert argv[-5:] == (*runtime_module("airflow.parse_dags"), "/opt/airflow/dags")
    *options, image = argv[:-5]
    assert image == f"{checking.settings.project}-candidate-airflow"
    assert options == [
        "docker",
        "create",
        "--cap-drop=ALL",
        "--security-opt=no-new-privileges:true",
        "--user=50000:0",
        "--network=none",
        "--volume=/clone/dags:/opt/airflow/dags:ro",
        "--volume=/clone/config:/opt/stack:ro",
        "--env=AIRFLOW__CORE__FERNET_KEY",
        "--env=DO_NOT_TRACK",
    ]
    assert recorded.lines[-2:] == ["docker start --attach f00d", "docker rm --force f00d"]


def test_no_value_is_in_the_words_of_the_import_check_and_each_reaches_it(checking, recorded):
    checking.import_errors()
    command = creating(recorded)
    assert SECRET not in str(command)
    assert all("=" not in word.removeprefix("--env=") for word in command.argv if "--env" in word)
    assert not [name for name in SECRETS if checking.settings[name] in str(command)]
    assert command.env.items() >= PARSER["environment"].items()
    assert command.env.items() >= checking.settings.compose_environment().items()


def test_dags_that_ask_the_stack_or_the_world_reach_it_where_it_runs(checking, recorded):
    checking.project.sdk.containers.found = [
        SimpleNamespace(attrs=attributes("airflow-dag-processor"))
    ]
    checking.import_errors()
    assert "--network=mine_back" in creating(recorded).argv
    assert recorded.lines[-3] == "docker network connect mine_egress f00d"


def test_import_errors_are_told_by_their_last_lines(checking, recorded):
    recorded.outputs["docker start"] = "3 DAGs parsed"
    assert checking.import_errors() == ""
    said = [f"dags/{number}.py: no such module" for number in range(20)]
    recorded.failures = {"docker start": "\n".join(said)}
    assert checking.import_errors().splitlines() == said[-runner.TAIL_LINES :]
    assert recorded.lines[-1] == "docker rm --force f00d"


@pytest.fixture
def adopting(docker):
    """Old images of the clone, and candidates of two of them."""
    project = docker.settings.project
    docker.project.sdk.images = Images()
    docker.project.sdk.images.known = {
        f"{project}-airflow": "old",
        f"{project}-mlflow": "old",
        f"{project}-status": "old",
        f"{project}-candidate-airflow": "new",
        f"{project}-candidate-mlflow": "new",
    }

    def known():
        return {
            n.removeprefix(f"{project}-"): c for n, c in docker.project.sdk.images.known.items()
        }

    return SimpleNamespace(docker=docker, known=known)


def test_adopt_leaves_an_image_alone_that_is_not_asked_for(adopting):
    adopting.docker.activate(["airflow"])
    assert adopting.known().items() >= {"airflow": "new", "mlflow": "old", "status": "old"}.items()
    adopting.docker.activate(["airflow", "mlflow"])
    assert adopting.known().items() >= {"airflow": "new", "mlflow": "new", "status": "old"}.items()


def test_adopt_takes_all_images_unless_told(adopting):
    project = adopting.docker.settings.project
    adopting.docker.project.sdk.images.known[f"{project}-candidate-status"] = "new"
    adopting.docker.activate()
    assert {adopting.known()[name] for name in docker_engine.IMAGES} == {"new"}


def test_tidy_removes_candidates_and_what_they_replaced(adopting, recorded):
    project = adopting.docker.settings.project
    adopting.docker.prune()
    assert adopting.known() == dict.fromkeys(docker_engine.IMAGES, "old")
    assert recorded.lines == [
        f"docker image prune --force --filter label=com.docker.compose.project={project}-candidate"
    ]


# swap, restart, run


class Replaced:
    """A container as it is after `docker compose create`; notes what becomes of it."""

    def __init__(self, identity, commands, state="running"):
        self.id, self.attrs = identity, {"State": {"Status": state}}
        self.start = lambda: commands.append(f"started {identity}")
        self.remove = lambda: commands.append(f"removed {identity}")


def test_a_service_is_replaced_alone_and_nothing_is_built(docker, recorded):
    docker.project.sdk.containers.found = [Replaced("abc", recorded.commands, "created")]
    docker.replace("mlflow")
    assert recorded.lines == ["docker compose create --no-build mlflow", "started abc"]
    labels = docker.project.sdk.containers.asked[-1]["filters"]["label"]
    assert "com.docker.compose.service=mlflow" in labels


def test_a_service_that_did_not_change_runs_on(docker, recorded):
    docker.project.sdk.containers.found = [Replaced("abc", recorded.commands)]
    docker.replace("mlflow")
    assert recorded.lines == ["docker compose create --no-build mlflow"]


def test_a_worker_ends_its_tasks_beside_the_new_one(docker, recorded):
    docker.project.sdk.containers.found = [Replaced("abc", recorded.commands)]
    docker.replace("airflow-worker")
    assert recorded.lines == [
        "docker compose create --no-build --no-recreate --scale=airflow-worker=2 airflow-worker",
        "docker exec abc sh -c 'mkdir -p /tmp/heal && touch /tmp/heal/off'",
        f"docker stop --time={24 * 3600} abc",
        "removed abc",
    ]


def test_tasks_are_finished_by_an_empty_queue_and_a_worker_that_may_take_its_time(
    docker, recorded, monkeypatch
):
    waiting = ["3", "1", "0", "1", "0", "0"]
    monkeypatch.setattr(docker.rollout, "_queued", lambda: int(waiting.pop(0)))
    monkeypatch.setattr(wait.time, "sleep", lambda seconds: None)
    docker.project.sdk.containers.found = [Replaced("abc", recorded.commands)]
    docker.finish_tasks()
    ends = [
        "docker exec abc sh -c 'mkdir -p /tmp/heal && touch /tmp/heal/off'",
        f"docker stop --time={24 * 3600} abc",
    ]
    # What it had put back when it was told to end is done too.
    assert recorded.lines == [
        "docker compose stop airflow-scheduler",
        *ends,
        "docker compose start airflow-worker",
        *ends,
    ]


def test_what_waits_for_a_worker_is_asked_of_redis(docker, recorded):
    recorded.outputs["redis-cli llen default"] = "a line of the engine's\n4\n"
    assert docker.rollout._queued() == 4


def test_a_worker_that_does_not_run_is_made_anew_and_not_just_started(docker, recorded):
    docker.replace("airflow-worker")
    assert recorded.lines == ["docker compose create --no-build airflow-worker"]


def test_a_worker_is_left_alone_where_the_new_one_does_not_start(docker, recorded):
    docker.project.sdk.containers.found = [Replaced("abc", recorded.commands)]
    recorded.failures = {"--scale": "no space left"}
    with pytest.raises(StackError, match="no space left"):
        docker.replace("airflow-worker")
    assert len(recorded.lines) == 1


@pytest.fixture
def one_shots(docker, recorded, clock, monkeypatch):
    """A compose file of one-shots; the containers of each are told in turn."""
    monkeypatch.setattr(wait, "time", clock)
    recorded.outputs = {
        "compose config": json.dumps({"services": {name: {} for name in ONE_SHOTS}}),
        "compose logs": "one\ntwo\n",
    }

    def tell(*told):
        said = [[SimpleNamespace(attrs=each)] for each in told]
        docker.project.sdk.containers.list = lambda **how: said.pop(0) if len(said) > 1 else said[0]

    return tell


@pytest.mark.parametrize("name", ONE_SHOTS)
def test_a_one_shot_is_waited_for(docker, one_shots, clock, name):
    # The first is looked at when it was made anew.
    one_shots(*[attributes(name)] * 3, attributes(name, "exited"))
    docker.replace(name)
    assert len(clock.slept) == 2


def test_a_one_shot_that_fails_is_told_with_its_last_lines(docker, one_shots, recorded):
    one_shots(attributes("mlflow-migrate", "exited", code=1))
    with pytest.raises(StackError) as failed:
        docker.replace("mlflow-migrate")
    assert str(failed.value) == "mlflow-migrate failed:\none\ntwo\nRun: inv up"
    assert recorded.lines[-1].startswith("docker compose logs --tail=12 ")


def test_a_one_shot_is_not_waited_for_for_ever(docker, one_shots, clock):
    one_shots(attributes("airflow-init"))
    with pytest.raises(StackError, match="airflow-init failed"):
        docker.replace("airflow-init")
    assert rollout.UP_SECONDS <= sum(clock.slept) < rollout.UP_SECONDS + 1


def test_what_is_started_does_not_hang_its_caller(docker, monkeypatch):
    limits = []
    monkeypatch.setattr(runner, "run", lambda command, *, timeout=None: limits.append(timeout))
    docker.up()
    docker.replace("mlflow")
    docker.replace("airflow-worker")
    assert limits == [rollout.UP_SECONDS] * 3


@pytest.mark.parametrize(
    ("service", "runs", "terminal", "words"),
    [
        ("mlflow", True, True, "exec mlflow"),
        ("mlflow", True, False, "exec -T mlflow"),
        ("mlflow", False, True, "run --rm --no-deps --quiet-pull mlflow"),
        ("mlflow", False, False, "run --rm --no-deps --quiet-pull -T mlflow"),
        ("airflow-init", True, True, "exec airflow-init airflow-entrypoint"),
        ("airflow-init", False, False,
         "run --rm --no-deps --quiet-pull -T airflow-init airflow-entrypoint"),
    ],
)  # fmt: skip
def test_a_command_runs_where_its_service_does_or_in_a_container_of_its_own(
    docker, recorded, monkeypatch, service, runs, terminal, words
):
    monkeypatch.setattr(runner, "at_terminal", lambda: terminal)
    monkeypatch.setattr(runner, "attach", lambda command: recorded.attach(command) or 7)
    others = [attributes("postgres"), attributes(service, "running" if runs else "exited")]
    docker.project.sdk.containers.found = [SimpleNamespace(attrs=each) for each in others]
    argv = ["dags", "trigger", " a b ", '--conf={"x": "$y"}', "", "-T"]
    assert docker.run(service, argv) == 7
    assert recorded.commands[-1].argv == ("docker", "compose", *words.split(), *argv)


@pytest.mark.parametrize(
    ("runs", "words"), [(True, "exec"), (False, "run --rm --no-deps --quiet-pull")]
)
def test_a_command_whose_streams_are_the_callers_has_no_terminal(docker, recorded, runs, words):
    found = attributes("mlflow", "running" if runs else "exited")
    docker.project.sdk.containers.found = [SimpleNamespace(attrs=found)]
    made = docker.command("mlflow", ["tar", "-c", "."])
    assert str(made) == f"docker compose {words} -T mlflow tar -c ."
    assert "-c ." not in recorded.lines


def test_another_project_runs_from_the_same_images_until_it_is_taken_back(docker, make_settings):
    project = docker.settings.project
    mine = {f"{project}-{name}": name for name in IMAGES}
    docker.project.sdk.images.known = dict(mine)
    other = make_settings(COMPOSE_PROJECT_NAME="other")
    lent = docker.create_sandbox(other)
    assert lent.settings is other
    assert {n: docker.project.sdk.images.known[f"other-{n}"] for n in IMAGES} == {
        n: n for n in IMAGES
    }
    docker.remove_sandbox(other)
    assert docker.project.sdk.images.known == mine


def test_a_dollar_reaches_us_as_it_was_meant(docker, recorded):
    recorded.outputs = {"compose config": '{"services": {"a$$b$$$$c": {}}}'}
    assert list(docker.services()) == ["a$b$$c"]


def test_services_are_those_of_the_compose_file_asked_once(docker, recorded):
    assert list(docker.services()) == ["postgres", "airflow-init", "mlflow"]
    assert list(docker.services()) == ["postgres", "airflow-init", "mlflow"]
    assert recorded.lines == ["docker compose config --format json"]


def test_ps_tells_of_every_service_also_of_one_without_a_container(docker):
    docker.project.sdk.containers.found = [
        SimpleNamespace(attrs=attributes("mlflow", Health={"Status": "starting"})),
        SimpleNamespace(attrs=attributes("airflow-init", "exited", code=3)),
    ]
    postgres, init, mlflow = docker.ps()
    assert (postgres.name, postgres.state, postgres.since) == ("postgres", "absent", None)
    assert (init.name, init.state, init.exit_code, init.health) == ("airflow-init", "exited", 3, "")
    assert (mlflow.state, mlflow.health, mlflow.restarts) == ("running", "starting", 2)
    assert mlflow.since == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_what_a_service_was_started_with_is_asked_of_its_running_container(docker):
    found = attributes("mlflow")
    found["Config"]["Env"] = ["A=1"]
    docker.project.sdk.containers.found = [SimpleNamespace(attrs=found)]
    assert docker.environment("mlflow") == {"A": "1", "user": ""}
    [asked] = docker.project.sdk.containers.asked
    assert "com.docker.compose.service=mlflow" in asked["filters"]["label"]
    assert "all" not in asked
    docker.project.sdk.containers.found = []
    assert docker.environment("mlflow") == {}


def test_what_it_would_be_started_with_is_what_compose_understands(docker, recorded):
    body = {"environment": {"A": "$$1"}, "user": "1000:0"}
    recorded.outputs = {"compose config": json.dumps({"services": {"mlflow": body}})}
    assert docker.intended("mlflow") == {"A": "$1", "user": "1000:0"}


def test_one_whose_last_end_was_for_its_memory_says_so(docker):
    for killed in (True, False):
        found = attributes("mlflow", "exited", OOMKilled=killed)
        docker.project.sdk.containers.found = [SimpleNamespace(attrs=found)]
        assert [s.out_of_memory for s in docker.ps() if s.name == "mlflow"] == [killed]


def test_ps_asks_for_all_containers_of_this_project_alone(docker):
    docker.ps()
    [asked] = docker.project.sdk.containers.asked
    assert asked["all"] is True
    assert asked["filters"]["label"] == [
        f"com.docker.compose.project={docker.settings.project}",
        "com.docker.compose.oneoff=False",
    ]


def test_a_container_that_vanishes_meanwhile_is_no_error(docker):
    docker.ps()
    assert docker.project.sdk.containers.asked[0].get("ignore_removed") is True


def test_a_container_that_never_started_has_no_time(docker):
    never = attributes("mlflow", "created", started="0001-01-01T00:00:00Z")
    docker.project.sdk.containers.found = [SimpleNamespace(attrs=never)]
    assert docker.ps()[2].since is None


def test_memory_is_told_by_service_and_asked_side_by_side(docker, monkeypatch):
    together = threading.Barrier(3)

    def held(container):
        together.wait(5)
        return container.bytes

    monkeypatch.setattr(containers, "memory", held)
    docker.project.sdk.containers.found = [
        SimpleNamespace(labels={SERVICE_LABEL: name}, bytes=number)
        for number, name in enumerate(("mlflow", "redis", "status"))
    ]
    assert docker.memory() == {"mlflow": 0, "redis": 1, "status": 2}
    [asked] = docker.project.sdk.containers.asked
    assert "all" not in asked


def test_it_is_built_when_the_clones_and_the_public_images_are_there(docker, monkeypatch):
    asked, missing = [], []

    def absent(sdk, names):
        asked.extend(names)
        return missing

    monkeypatch.setattr(public_images, "absent", absent)
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

    docker.project.sdk.volumes = Volumes()
    assert docker.surviving_data() == ["mine_postgres"]


@pytest.mark.parametrize("version", ["2.20.0", "v2.26.1-4", "5.0.2", "2.29.7-desktop.1"])
def test_a_compose_that_is_new_enough_is_no_problem(docker, recorded, monkeypatch, version):
    monkeypatch.setattr(daemon, "unreachable", lambda: None)
    recorded.outputs = {"version --short": f"{version}\n"}
    assert docker.problems() == []


@pytest.mark.parametrize("version", ["2.19.1", "1.29.2", "v2.3.4"])
def test_an_old_compose_is_a_problem_with_the_next_command(docker, recorded, monkeypatch, version):
    monkeypatch.setattr(daemon, "unreachable", lambda: None)
    recorded.outputs = {"version --short": f"{version}\n"}
    [problem] = docker.problems()
    assert problem.code == "engine-too-old"
    assert problem.cause == f"Compose {version} is older than 2.20."
    assert problem.fix == docker_engine.WITH_DOCKER


def test_no_engine_and_no_compose_are_told_together(docker, recorded, monkeypatch):
    silent = daemon._silence(Exception())
    monkeypatch.setattr(daemon, "unreachable", lambda: silent)
    recorded.failures = {"version --short": "unknown command"}
    engine, version = docker.problems()
    assert engine is silent
    assert version.code == "compose-missing"


def test_the_sdk_is_made_when_it_is_needed(make_settings, monkeypatch):
    monkeypatch.setattr(daemon, "client", lambda: "client")
    assert DockerEngine(make_settings()).project.sdk == "client"


# With TLS

WITH_TLS = "docker compose -f docker-compose.yaml -f docker-compose.tls.yaml --profile tls"


@pytest.fixture
def closed(docker, make_settings):
    """The engine with TLS on; its certificate was written in 2026."""
    settings = make_settings(TLS="on", PUBLIC_HOST="box.example")
    closed = DockerEngine(settings)
    closed.project.__dict__["sdk"] = docker.project.sdk
    file = certificates.Files.of(settings).certificate
    file.parent.mkdir(parents=True)
    file.write_text("")
    written = datetime(2026, 1, 2, 4, tzinfo=UTC).timestamp()
    os.utime(file, (written, written))
    return closed


def test_with_tls_a_second_file_is_read_and_a_person_s_own_last(closed, recorded, clone):
    closed.up()
    assert recorded.lines[0] == f"{WITH_TLS} up -d --no-build --remove-orphans"
    (clone / "orchestration/docker-compose.override.yaml").touch()
    closed.stop(["mlflow"])
    with_own = WITH_TLS.replace(" --profile", " -f docker-compose.override.yaml --profile")
    assert recorded.lines[-1] == f"{with_own} stop mlflow"
    assert recorded.commands[-1].env["PUBLIC_HOST"] == "box.example"


def test_where_airflow_uses_a_bucket_files_with_the_keys_are_read(make_settings, recorded, clone):
    told = {"AIRFLOW_LOGS_DESTINATION": "s3://logs/of"}
    files = "-f docker-compose.yaml -f docker-compose.s3.yaml -f docker-compose.logs.yaml"
    DockerEngine(make_settings(**told)).stop(["mlflow"])
    assert recorded.lines[-1] == f"docker compose {files} stop mlflow"
    (clone / "orchestration/docker-compose.override.yml").touch()
    DockerEngine(make_settings(**told)).stop(["mlflow"])
    own = f"{files} -f docker-compose.override.yml"
    assert recorded.lines[-1] == f"docker compose {own} stop mlflow"
    (clone / "orchestration/docker-compose.override.yml").unlink()
    DockerEngine(make_settings(**told, TLS="on")).stop(["mlflow"])
    both = files.replace(
        " -f docker-compose.s3", " -f docker-compose.tls.yaml -f docker-compose.s3"
    )
    assert recorded.lines[-1] == f"docker compose {both} --profile tls stop mlflow"


@pytest.mark.parametrize(("started", "again"), [("2026-01-02T03", True), ("2026-01-02T05", False)])
def test_a_proxy_older_than_its_certificate_is_started_anew(closed, recorded, started, again):
    found = attributes("tls", started=f"{started}:04:05.678901234Z")
    closed.project.sdk.containers.found = [SimpleNamespace(attrs=found)]
    closed.up()
    assert (f"{WITH_TLS} restart tls" in recorded.lines) == again


def test_back_without_tls_the_proxy_gives_its_ports_up_first(docker, recorded):
    docker.project.sdk.containers.found = [SimpleNamespace(attrs=attributes("tls"))]
    docker.up()
    assert recorded.lines == [
        "docker compose --profile tls rm --stop --force tls",
        "docker compose up -d --no-build --remove-orphans",
    ]


def test_the_proxy_s_image_is_built_and_asked_for_with_tls_alone(closed, docker):
    assert docker.images() == IMAGES
    assert closed.images() == (*IMAGES, "tls")
    held = {f"{closed.settings.project}-{name}": name for name in IMAGES}
    held |= {closed.settings[f"{name}_IMAGE"]: name for name in ("POSTGRES", "REDIS")}
    docker.project.sdk.images.known = held
    assert docker.is_built()
    assert not closed.is_built()
