"""The Docker engine: the command line of each method, and how the SDK's answers are read."""

import json
import os
import threading
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from docker.errors import ImageNotFound

from orchestration.engines.base import IMAGES, INIT_JOBS, runtime_module
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
    """Return the part of `docker inspect` that the engine reads."""
    return {
        "Config": {"Labels": {"com.docker.compose.service": service}},
        "State": {"Status": status, "ExitCode": code, "StartedAt": started} | more,
        "RestartCount": 2,
    }


class Containers:
    """The SDK's containers of a machine; records the calls of `list`."""

    def __init__(self, *existing):
        self.existing, self.calls = existing, []

    def list(self, **options):
        self.calls.append(options)
        return list(self.existing)


class Images:
    """The SDK's images of a machine: the content of each name."""

    def __init__(self, **contents):
        self.contents = contents

    def get(self, name):
        if name not in self.contents:
            raise ImageNotFound(name)
        content = self.contents[name]
        return SimpleNamespace(tag=lambda other: self.contents.update({other: content}))

    def remove(self, name):
        del self.contents[name]


@pytest.fixture
def docker(make_settings, recorded):
    """The engine with recorded commands and a Compose file of three services."""
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
def test_method_runs_one_compose_command(docker, recorded, act, line):
    act(docker)
    assert recorded.lines == [line]


@pytest.mark.parametrize(("volumes", "more"), [(False, ""), (True, " --volumes")])
def test_down_stops_the_worker_first(docker, recorded, volumes, more):
    docker.down(volumes=volumes)
    assert recorded.lines == [
        "docker compose stop airflow-worker",
        f"docker compose --profile tls down --remove-orphans{more}",
        "docker network prune --force --filter "
        f"label=com.docker.compose.project={docker.settings.project}",
    ]


def test_tail_removes_terminal_codes(docker, recorded):
    recorded.outputs = {"compose logs": f"{docker_engine.ERASE}one\n{docker_engine.ERASE}two\n"}
    assert docker.tail("redis", 2) == "one\ntwo"


def test_compose_runs_in_its_folder_with_our_environment_only(docker, recorded, clone):
    docker.up()
    [command] = recorded.commands
    assert command.cwd == clone / "orchestration"
    more = {"DOCKER_BUILDKIT": "1", "CLIENT_NO_PROXY": ""}
    assert command.env == {**docker.settings.compose_environment(), **more}


@pytest.mark.parametrize("variable", ["DOCKER_CONFIG", "HOME"])
@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ('{"proxies": {"default": {"httpProxy": "http://p", "noProxy": "a.b,.c"}}}', "a.b,.c"),
        ('{"proxies": {"default": {"noProxy": "a"}, "tcp://x": {"noProxy": "b"}}}', "a,b"),
        ('{"proxies": {"default": {"httpProxy": "http://p"}}}', ""),
        ("{}", ""),
        ("no JSON", ""),
    ],
)
def test_compose_gets_the_hosts_that_dockers_client_excludes(
    make_settings, tmp_path, variable, text, hosts
):
    folder = tmp_path / ("" if variable == "DOCKER_CONFIG" else ".docker")
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(text)
    command = DockerEngine(make_settings(**{variable: tmp_path})).project.compose("ps")
    assert command.env["CLIENT_NO_PROXY"] == hosts


def test_command_lines_contain_no_secrets(docker, recorded):
    docker.up()
    docker.tail("redis", 1)
    docker.logs(["redis"], tail=1, since="", follow=False)
    docker.down(volumes=True)
    assert len(recorded.lines) == 6
    text = " ".join(recorded.lines)
    assert not [name for name in SECRETS if docker.settings[name] in text]


@pytest.fixture
def public(recorded, monkeypatch):
    """Public images exist; a call of `provide` is recorded among the commands."""
    monkeypatch.setattr(
        public_images, "provide", lambda sdk, settings: recorded.commands.append("public images")
    )


def test_build_provides_public_images_first(docker, recorded, public):
    docker.build()
    assert recorded.lines == [
        "public images",
        "docker compose --progress=plain build airflow-init mlflow-migrate status",
    ]


def test_build_of_named_images_builds_only_these(docker, recorded, public):
    docker.build(["mlflow"])
    assert recorded.lines[-1] == "docker compose --progress=plain build mlflow-migrate"


def test_build_alone_uses_the_candidate_project(docker, recorded, public):
    docker.build()
    build = recorded.commands[-1]
    assert build.env["COMPOSE_PROJECT_NAME"] == f"{docker.settings.project}-candidate"
    recorded.commands.clear()
    docker.up()
    docker.replace("mlflow")
    docker.replace("airflow-worker")
    docker.restart(["mlflow"])
    docker.run("mlflow", ["bash"])
    docker.logs([], tail=1, since="", follow=False)
    docker.tail("mlflow", 1)
    docker.down(volumes=False)
    commands = [command for command in recorded.commands if command.argv[1] == "compose"]
    projects = {command.env["COMPOSE_PROJECT_NAME"] for command in commands}
    assert projects == {docker.settings.project}


def test_logs_on_a_terminal_keep_the_colours_of_compose(docker, recorded, monkeypatch):
    commands = []
    monkeypatch.setattr(docker_engine.sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(runner, "attach", lambda command: commands.append(str(command)) or 7)
    assert docker.logs(["redis"], tail=1, since="", follow=False) == 7
    assert commands == ["docker compose logs --tail=1 redis"]
    assert recorded.lines == []


def test_logs_to_a_pipe_are_plain_lines(docker, recorded, capsys):
    recorded.outputs = {"compose logs": f"{docker_engine.ERASE}redis  | one\nredis  | two\n"}
    assert docker.logs(["redis"], tail=2, since="", follow=True) == 0
    assert capsys.readouterr().out == "redis  | one\nredis  | two\n"


def test_logs_after_ctrl_c_return_the_exit_code_of_a_shell(docker, monkeypatch):
    def interrupt(command, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "run", interrupt)
    assert docker.logs([], tail=2, since="", follow=True) == runner.INTERRUPTED


# Candidate images: check, activate, prune

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
def parser(docker, recorded):
    """The engine with the service that parses DAGs. Compose doubles each $ in its output."""
    document = {
        "services": {"airflow-dag-processor": PARSER},
        "networks": {"back": {"name": "mine_back"}, "egress": {"name": "mine_egress"}},
    }
    config = json.dumps(document).replace("$", "$$")
    recorded.outputs = {"compose config": config, "docker create": "WARNING: no swap\nf00d\n"}
    return docker


def create_command(recorded):
    """Return the command that created the container of the import check."""
    return next(command for command in recorded.commands if "create" in command.argv)


def test_import_errors_runs_the_candidate_as_the_parser_service(parser, recorded):
    assert parser.import_errors() == ""
    argv = create_command(recorded).argv
    assert argv[-5:] == (*runtime_module("airflow.parse_dags"), "/opt/airflow/dags")
    *options, image = argv[:-5]
    assert image == f"{parser.settings.project}-candidate-airflow"
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


def test_package_errors_imports_packages_in_the_candidate(parser, recorded):
    recorded.failures = {"docker start": "lightgbm: import lightgbm: OSError: libgomp.so.1"}
    assert parser.package_errors(["lightgbm", "pandas"]).endswith("libgomp.so.1")
    argv = create_command(recorded).argv
    module = runtime_module("airflow.import_packages")
    image = f"{parser.settings.project}-candidate-airflow"
    assert argv[-7:] == (image, *module, "lightgbm", "pandas")


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        ([], ["status"]),
        (["sha256:old"], ["status"]),
        (["sha256:new"], []),
        (["sha256:new", "sha256:old"], ["status"]),
    ],
)
def test_outdated_compares_containers_with_the_active_image(docker, monkeypatch, images, expected):
    active = SimpleNamespace(id="sha256:new")
    names = []
    monkeypatch.setattr(
        docker.project, "sdk",
        SimpleNamespace(images=SimpleNamespace(get=lambda name: names.append(name) or active)),
    )  # fmt: skip
    monkeypatch.setattr(
        docker.project, "containers",
        lambda service, **options: [SimpleNamespace(attrs={"Image": image}) for image in images],
    )  # fmt: skip
    assert docker.outdated(["status"]) == expected
    assert names == [f"{docker.settings.project}-status"]


def test_import_errors_passes_values_only_in_the_environment(parser, recorded):
    parser.import_errors()
    command = create_command(recorded)
    assert SECRET not in str(command)
    assert all("=" not in arg.removeprefix("--env=") for arg in command.argv if "--env" in arg)
    assert not [name for name in SECRETS if parser.settings[name] in str(command)]
    assert command.env.items() >= PARSER["environment"].items()
    assert command.env.items() >= parser.settings.compose_environment().items()


def test_import_errors_uses_the_networks_of_a_running_stack(parser, recorded):
    parser.project.sdk.containers.existing = [
        SimpleNamespace(attrs=attributes("airflow-dag-processor"))
    ]
    parser.import_errors()
    assert "--network=mine_back" in create_command(recorded).argv
    assert recorded.lines[-3] == "docker network connect mine_egress f00d"


def test_import_errors_are_the_last_lines(parser, recorded):
    recorded.outputs["docker start"] = "3 DAGs parsed"
    assert parser.import_errors() == ""
    lines = [f"dags/{number}.py: no such module" for number in range(20)]
    recorded.failures = {"docker start": "\n".join(lines)}
    assert parser.import_errors().splitlines() == lines[-runner.TAIL_LINES :]
    assert recorded.lines[-1] == "docker rm --force f00d"


@pytest.fixture
def images(docker):
    """Active images of the clone, and candidates for two of them."""
    project = docker.settings.project
    docker.project.sdk.images = Images()
    docker.project.sdk.images.contents = {
        f"{project}-airflow": "old",
        f"{project}-mlflow": "old",
        f"{project}-status": "old",
        f"{project}-candidate-airflow": "new",
        f"{project}-candidate-mlflow": "new",
    }

    def contents():
        return {
            n.removeprefix(f"{project}-"): c for n, c in docker.project.sdk.images.contents.items()
        }

    return SimpleNamespace(docker=docker, contents=contents)


def test_activate_of_named_images_keeps_the_others(images):
    images.docker.activate(["airflow"])
    assert images.contents().items() >= {"airflow": "new", "mlflow": "old", "status": "old"}.items()
    images.docker.activate(["airflow", "mlflow"])
    assert images.contents().items() >= {"airflow": "new", "mlflow": "new", "status": "old"}.items()


def test_activate_without_names_activates_all_images(images):
    project = images.docker.settings.project
    images.docker.project.sdk.images.contents[f"{project}-candidate-status"] = "new"
    images.docker.activate()
    assert {images.contents()[name] for name in docker_engine.IMAGES} == {"new"}


def test_prune_removes_candidates_and_replaced_images(images, recorded):
    project = images.docker.settings.project
    images.docker.prune()
    assert images.contents() == dict.fromkeys(docker_engine.IMAGES, "old")
    assert recorded.lines == [
        f"docker image prune --force --filter label=com.docker.compose.project={project}-candidate"
    ]


# replace, restart, run


class Container:
    """A container after `docker compose create`; records its start and removal."""

    def __init__(self, container_id, commands, state="running"):
        self.id, self.attrs = container_id, {"State": {"Status": state}}
        self.start = lambda: commands.append(f"started {container_id}")
        self.remove = lambda: commands.append(f"removed {container_id}")


def test_replace_creates_and_starts_only_that_service(docker, recorded):
    docker.project.sdk.containers.existing = [Container("abc", recorded.commands, "created")]
    docker.replace("mlflow")
    assert recorded.lines == ["docker compose create --no-build mlflow", "started abc"]
    labels = docker.project.sdk.containers.calls[-1]["filters"]["label"]
    assert "com.docker.compose.service=mlflow" in labels


def test_replace_of_an_unchanged_service_keeps_it_running(docker, recorded):
    docker.project.sdk.containers.existing = [Container("abc", recorded.commands)]
    docker.replace("mlflow")
    assert recorded.lines == ["docker compose create --no-build mlflow"]


def test_replace_of_a_worker_starts_the_new_one_first(docker, recorded):
    docker.project.sdk.containers.existing = [Container("abc", recorded.commands)]
    docker.replace("airflow-worker")
    assert recorded.lines == [
        "docker compose create --no-build --no-recreate --scale=airflow-worker=2 airflow-worker",
        "docker exec abc touch /tmp/worker-stopping",
        f"docker stop --time={24 * 3600} abc",
        "removed abc",
    ]


def test_finish_tasks_repeats_until_a_stopped_worker_leaves_the_queue_empty(
    docker, recorded, monkeypatch
):
    lengths = [3, 1, 0, 1, 0, 0]
    monkeypatch.setattr(docker.rollout, "_queued", lambda: lengths.pop(0))
    monkeypatch.setattr(wait.time, "sleep", lambda seconds: None)
    docker.project.sdk.containers.existing = [Container("abc", recorded.commands)]
    docker.finish_tasks()
    stop_worker = [
        "docker exec abc touch /tmp/worker-stopping",
        f"docker stop --time={24 * 3600} abc",
    ]
    # The worker is started once more for the task that it returned to the queue.
    assert recorded.lines == [
        "docker compose stop airflow-scheduler",
        *stop_worker,
        "docker compose start airflow-worker",
        *stop_worker,
    ]


def test_queued_is_the_length_of_the_list_in_redis(docker, recorded):
    recorded.outputs["redis-cli llen default"] = "a line of the engine's\n4\n"
    assert docker.rollout._queued() == 4


def test_replace_of_a_stopped_worker_recreates_it(docker, recorded):
    docker.replace("airflow-worker")
    assert recorded.lines == ["docker compose create --no-build airflow-worker"]


def test_replace_keeps_the_worker_if_the_new_one_fails(docker, recorded):
    docker.project.sdk.containers.existing = [Container("abc", recorded.commands)]
    recorded.failures = {"--scale": "no space left"}
    with pytest.raises(StackError, match="no space left"):
        docker.replace("airflow-worker")
    assert len(recorded.lines) == 1


@pytest.fixture
def job_states(docker, recorded, clock, monkeypatch):
    """Return a function that sets the successive states of an init job's container."""
    monkeypatch.setattr(wait, "time", clock)
    recorded.outputs = {
        "compose config": json.dumps({"services": {name: {} for name in INIT_JOBS}}),
        "compose logs": "one\ntwo\n",
    }

    def set_states(*states):
        lists = [[SimpleNamespace(attrs=state)] for state in states]
        docker.project.sdk.containers.list = lambda **options: (
            lists.pop(0) if len(lists) > 1 else lists[0]
        )

    return set_states


@pytest.mark.parametrize("name", INIT_JOBS)
def test_replace_waits_for_an_init_job(docker, job_states, clock, name):
    # The first state is read when the container was just recreated.
    job_states(*[attributes(name)] * 3, attributes(name, "exited"))
    docker.replace(name)
    assert len(clock.slept) == 2


def test_replace_of_a_failed_init_job_shows_its_last_lines(docker, job_states, recorded):
    job_states(attributes("mlflow-migrate", "exited", code=1))
    with pytest.raises(StackError) as error:
        docker.replace("mlflow-migrate")
    assert str(error.value) == "mlflow-migrate failed:\none\ntwo\nRun: inv up"
    assert recorded.lines[-1].startswith("docker compose logs --tail=12 ")


def test_replace_of_an_init_job_times_out(docker, job_states, clock):
    job_states(attributes("airflow-init"))
    with pytest.raises(StackError, match="airflow-init failed"):
        docker.replace("airflow-init")
    assert rollout.UP_SECONDS <= sum(clock.slept) < rollout.UP_SECONDS + 1


def test_up_and_replace_have_a_timeout(docker, monkeypatch):
    limits = []
    monkeypatch.setattr(runner, "run", lambda command, *, timeout=None: limits.append(timeout))
    docker.up()
    docker.replace("mlflow")
    docker.replace("airflow-worker")
    assert limits == [rollout.UP_SECONDS] * 3


@pytest.mark.parametrize(
    ("service", "running", "terminal", "expected"),
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
def test_run_uses_the_container_of_the_service_or_a_new_one(
    docker, recorded, monkeypatch, service, running, terminal, expected
):
    monkeypatch.setattr(runner, "at_terminal", lambda: terminal)
    monkeypatch.setattr(runner, "attach", lambda command: recorded.attach(command) or 7)
    others = [attributes("postgres"), attributes(service, "running" if running else "exited")]
    docker.project.sdk.containers.existing = [SimpleNamespace(attrs=each) for each in others]
    argv = ["dags", "trigger", " a b ", '--conf={"x": "$y"}', "", "-T"]
    assert docker.run(service, argv) == 7
    assert recorded.commands[-1].argv == ("docker", "compose", *expected.split(), *argv)


@pytest.mark.parametrize(
    ("running", "expected"), [(True, "exec"), (False, "run --rm --no-deps --quiet-pull")]
)
def test_command_has_no_terminal(docker, recorded, running, expected):
    inspected = attributes("mlflow", "running" if running else "exited")
    docker.project.sdk.containers.existing = [SimpleNamespace(attrs=inspected)]
    command = docker.command("mlflow", ["tar", "-c", "."])
    assert str(command) == f"docker compose {expected} -T mlflow tar -c ."
    assert "-c ." not in recorded.lines


def test_sandbox_uses_the_images_of_this_project_until_it_is_removed(docker, make_settings):
    project = docker.settings.project
    mine = {f"{project}-{name}": name for name in IMAGES}
    docker.project.sdk.images.contents = dict(mine)
    other = make_settings(COMPOSE_PROJECT_NAME="other")
    sandbox = docker.create_sandbox(other)
    assert sandbox.settings is other
    assert {n: docker.project.sdk.images.contents[f"other-{n}"] for n in IMAGES} == {
        n: n for n in IMAGES
    }
    docker.remove_sandbox(other)
    assert docker.project.sdk.images.contents == mine


def test_services_unescapes_dollar_signs(docker, recorded):
    recorded.outputs = {"compose config": '{"services": {"a$$b$$$$c": {}}}'}
    assert list(docker.services()) == ["a$b$$c"]


def test_services_reads_the_compose_file_once(docker, recorded):
    assert list(docker.services()) == ["postgres", "airflow-init", "mlflow"]
    assert list(docker.services()) == ["postgres", "airflow-init", "mlflow"]
    assert recorded.lines == ["docker compose config --format json"]


def test_ps_includes_services_without_a_container(docker):
    docker.project.sdk.containers.existing = [
        SimpleNamespace(attrs=attributes("mlflow", Health={"Status": "starting"})),
        SimpleNamespace(attrs=attributes("airflow-init", "exited", code=3)),
    ]
    postgres, init, mlflow = docker.ps()
    assert (postgres.name, postgres.state, postgres.since) == ("postgres", "absent", None)
    assert (init.name, init.state, init.exit_code, init.health) == ("airflow-init", "exited", 3, "")
    assert (mlflow.state, mlflow.health, mlflow.restarts) == ("running", "starting", 2)
    assert mlflow.since == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_environment_is_that_of_the_running_container(docker):
    inspected = attributes("mlflow")
    inspected["Config"]["Env"] = ["A=1"]
    docker.project.sdk.containers.existing = [SimpleNamespace(attrs=inspected)]
    assert docker.environment("mlflow") == {"A": "1", "user": ""}
    [options] = docker.project.sdk.containers.calls
    assert "com.docker.compose.service=mlflow" in options["filters"]["label"]
    assert "all" not in options
    docker.project.sdk.containers.existing = []
    assert docker.environment("mlflow") == {}


def test_intended_environment_is_that_of_compose_config(docker, recorded):
    body = {"environment": {"A": "$$1"}, "user": "1000:0"}
    recorded.outputs = {"compose config": json.dumps({"services": {"mlflow": body}})}
    assert docker.intended_environment("mlflow") == {"A": "$1", "user": "1000:0"}


def test_ps_reports_services_that_ran_out_of_memory(docker):
    for killed in (True, False):
        inspected = attributes("mlflow", "exited", OOMKilled=killed)
        docker.project.sdk.containers.existing = [SimpleNamespace(attrs=inspected)]
        assert [s.out_of_memory for s in docker.ps() if s.name == "mlflow"] == [killed]


def test_ps_lists_all_containers_of_this_project_only(docker):
    docker.ps()
    [options] = docker.project.sdk.containers.calls
    assert options["all"] is True
    assert options["filters"]["label"] == [
        f"com.docker.compose.project={docker.settings.project}",
        "com.docker.compose.oneoff=False",
    ]


def test_ps_ignores_containers_that_disappear(docker):
    docker.ps()
    assert docker.project.sdk.containers.calls[0].get("ignore_removed") is True


def test_ps_has_no_start_time_before_the_first_start(docker):
    inspected = attributes("mlflow", "created", started="0001-01-01T00:00:00Z")
    docker.project.sdk.containers.existing = [SimpleNamespace(attrs=inspected)]
    assert docker.ps()[2].since is None


def test_memory_of_services_is_read_in_parallel(docker, monkeypatch):
    barrier = threading.Barrier(3)

    def memory(container):
        barrier.wait(5)
        return container.bytes

    monkeypatch.setattr(containers, "memory", memory)
    docker.project.sdk.containers.existing = [
        SimpleNamespace(labels={SERVICE_LABEL: name}, bytes=number)
        for number, name in enumerate(("mlflow", "redis", "status"))
    ]
    assert docker.memory() == {"mlflow": 0, "redis": 1, "status": 2}
    [options] = docker.project.sdk.containers.calls
    assert "all" not in options


def test_is_built_with_own_and_public_images(docker, monkeypatch):
    needed, absent = [], []

    def missing(sdk, names):
        needed.extend(names)
        return absent

    monkeypatch.setattr(public_images, "missing", missing)
    assert docker.is_built()
    project = docker.settings.project
    assert needed == [
        f"{project}-airflow",
        f"{project}-mlflow",
        f"{project}-status",
        "postgres:16",
        "redis:7.2-bookworm",
    ]
    absent.append("postgres:16")
    assert not docker.is_built()


def test_surviving_data_lists_the_volumes_of_this_project(docker):
    class Volumes:
        def list(self, filters):
            mine = f"com.docker.compose.project={docker.settings.project}"
            return [SimpleNamespace(name="mine_postgres")] if filters == {"label": mine} else []

    docker.project.sdk.volumes = Volumes()
    assert docker.surviving_data() == ["mine_postgres"]


@pytest.mark.parametrize("version", ["2.20.0", "v2.26.1-4", "5.0.2", "2.29.7-desktop.1"])
def test_problems_with_a_new_compose_is_empty(docker, recorded, monkeypatch, version):
    monkeypatch.setattr(daemon, "engine_problem", lambda: None)
    recorded.outputs = {"version --short": f"{version}\n"}
    assert docker.problems() == []


@pytest.mark.parametrize("version", ["2.19.1", "1.29.2", "v2.3.4"])
def test_problems_with_an_old_compose_names_the_fix(docker, recorded, monkeypatch, version):
    monkeypatch.setattr(daemon, "engine_problem", lambda: None)
    recorded.outputs = {"version --short": f"{version}\n"}
    [problem] = docker.problems()
    assert problem.code == "engine-too-old"
    assert problem.cause == f"Compose {version} is older than 2.20."
    assert problem.fix == docker_engine.WITH_DOCKER


def test_problems_without_engine_and_compose_reports_both(docker, recorded, monkeypatch):
    no_answer = daemon._no_answer(Exception())
    monkeypatch.setattr(daemon, "engine_problem", lambda: no_answer)
    recorded.failures = {"version --short": "unknown command"}
    engine, compose = docker.problems()
    assert engine is no_answer
    assert compose.code == "compose-missing"


def test_sdk_is_created_on_first_use(make_settings, monkeypatch):
    monkeypatch.setattr(daemon, "client", lambda: "client")
    assert DockerEngine(make_settings()).project.sdk == "client"


# With TLS

WITH_TLS = "docker compose -f docker-compose.yaml -f docker-compose.tls.yaml --profile tls"


@pytest.fixture
def with_tls(docker, make_settings):
    """The engine with TLS on and a certificate of 2026."""
    settings = make_settings(TLS="on", PUBLIC_HOST="box.example")
    engine = DockerEngine(settings)
    engine.project.__dict__["sdk"] = docker.project.sdk
    file = certificates.Files.for_clone(settings).certificate
    file.parent.mkdir(parents=True)
    file.write_text("")
    written = datetime(2026, 1, 2, 4, tzinfo=UTC).timestamp()
    os.utime(file, (written, written))
    return engine


def test_compose_files_with_tls_end_with_the_override(with_tls, recorded, clone):
    with_tls.up()
    assert recorded.lines[0] == f"{WITH_TLS} up -d --no-build --remove-orphans"
    (clone / "orchestration/docker-compose.override.yaml").touch()
    with_tls.stop(["mlflow"])
    with_override = WITH_TLS.replace(" --profile", " -f docker-compose.override.yaml --profile")
    assert recorded.lines[-1] == f"{with_override} stop mlflow"
    assert recorded.commands[-1].env["PUBLIC_HOST"] == "box.example"


def test_compose_files_with_logs_in_a_bucket(make_settings, recorded, clone):
    values = {"AIRFLOW_LOGS_DESTINATION": "s3://logs/of"}
    files = "-f docker-compose.yaml -f docker-compose.s3.yaml -f docker-compose.logs.yaml"
    DockerEngine(make_settings(**values)).stop(["mlflow"])
    assert recorded.lines[-1] == f"docker compose {files} stop mlflow"
    (clone / "orchestration/docker-compose.override.yml").touch()
    DockerEngine(make_settings(**values)).stop(["mlflow"])
    with_override = f"{files} -f docker-compose.override.yml"
    assert recorded.lines[-1] == f"docker compose {with_override} stop mlflow"
    (clone / "orchestration/docker-compose.override.yml").unlink()
    DockerEngine(make_settings(**values, TLS="on")).stop(["mlflow"])
    both = files.replace(
        " -f docker-compose.s3", " -f docker-compose.tls.yaml -f docker-compose.s3"
    )
    assert recorded.lines[-1] == f"docker compose {both} --profile tls stop mlflow"


@pytest.mark.parametrize(("started", "outdated"), [("02T03", True), ("02T05", False)])
def test_up_restarts_a_proxy_older_than_its_certificate(with_tls, recorded, started, outdated):
    inspected = attributes("tls", started=f"2026-01-{started}:04:05.678901234Z")
    with_tls.project.sdk.containers.existing = [SimpleNamespace(attrs=inspected)]
    with_tls.up()
    assert (f"{WITH_TLS} restart tls" in recorded.lines) == outdated


def test_up_without_tls_removes_the_proxy_first(docker, recorded):
    docker.project.sdk.containers.existing = [SimpleNamespace(attrs=attributes("tls"))]
    docker.up()
    assert recorded.lines == [
        "docker compose --profile tls rm --stop --force tls",
        "docker compose up -d --no-build --remove-orphans",
    ]


def test_images_include_the_proxy_only_with_tls(with_tls, docker):
    assert docker.images() == IMAGES
    assert with_tls.images() == (*IMAGES, "tls")
    contents = {f"{with_tls.settings.project}-{name}": name for name in IMAGES}
    contents |= {with_tls.settings[f"{name}_IMAGE"]: name for name in ("POSTGRES", "REDIS")}
    docker.project.sdk.images.contents = contents
    assert docker.is_built()
    assert not with_tls.is_built()
