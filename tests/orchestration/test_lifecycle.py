"""The verbs that change the stack, with an engine of paper and stubs: what each does and says."""

import re
import stat
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from orchestration import lifecycle, preflight
from orchestration.commands import down, rebuild, restart, up
from orchestration.doctor import diagnose
from orchestration.engines import factory
from orchestration.engines.base import Service
from orchestration.errors import Problem, StackError
from orchestration.health import canary, readiness
from orchestration.process import background, runner
from orchestration.project import Project
from orchestration.settings.model import SECRETS

PLACES = ("AIRFLOW_PORT", "MLFLOW_PORT", "STATUS_PORT")
INSTALLED = ["build", "activate", "prune"]


@pytest.fixture(autouse=True)
def machine(clone, engine, web, monkeypatch):
    """A good machine with an engine, where every service answers well at once."""
    for name, port in web.stack_is_well().items():
        monkeypatch.setenv(name, str(port))
    monkeypatch.setattr(factory, "engine_for", lambda chosen: engine)
    monkeypatch.setattr(background, "POLL_SECONDS", 0)
    monkeypatch.setattr(readiness, "READY_SECONDS", 5)
    monkeypatch.setattr(preflight, "resource_problems", lambda root: [])
    monkeypatch.setattr(preflight, "least_memory", lambda host: (16.0, "This machine", ""))
    monkeypatch.setattr(preflight, "least_cpus", lambda host: 4)
    # The stub listens on all three ports before the paper engine has "started" anything.
    monkeypatch.setattr(preflight, "port_problem", lambda settings, service: None)


def problem(cause):
    return Problem("unfit", cause, "Mend it.", "machine")


def files_of(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# install


def test_install_writes_the_settings_makes_folders_and_builds(project, clone, engine, capsys):
    lifecycle.install(project)
    chosen = Project(clone, {}).settings()
    assert chosen.engine == "docker"
    assert all(chosen[name] for name in SECRETS)
    assert stat.S_IMODE((clone / ".env").stat().st_mode) == 0o600
    assert engine.asked == INSTALLED
    for name in ("logs", "plugins", "dags"):
        # The bit for the group may be lost on a file system that is mounted without it.
        assert stat.S_IMODE((clone / name).stat().st_mode) & 0o777 == 0o775
    assert capsys.readouterr().out == ".env made from .env.example\n"


def test_install_again_changes_nothing_and_says_nothing(project, clone, engine, capsys):
    lifecycle.install(project)
    before = (clone / ".env").read_bytes()
    capsys.readouterr()
    lifecycle.install(project)
    assert (clone / ".env").read_bytes() == before
    assert capsys.readouterr().out == ""
    assert engine.asked == [*INSTALLED, *INSTALLED]


def test_install_tells_all_problems_at_once_and_changes_nothing(
    project, clone, engine, monkeypatch
):
    monkeypatch.setattr(preflight, "resource_problems", lambda root: [problem("no memory")])
    monkeypatch.setattr(preflight, "port_problem", lambda settings, name: problem(f"no {name}"))
    engine.listed, engine.volumes = [Service("postgres", "absent")], ["x_postgres"]
    before = files_of(clone)
    with pytest.raises(StackError) as refused:
        lifecycle.install(project)
    assert "Nothing was changed." in str(refused.value).splitlines()[0]
    causes = [one.cause for one in refused.value.problems]
    assert causes[:4] == ["no memory", "no airflow-apiserver", "no mlflow", "no status"]
    assert "must differ" in causes[4]
    assert "x_postgres" in causes[5]
    assert len(causes) == 6
    assert files_of(clone) == before
    assert engine.asked == []


def test_install_says_what_is_advised(project, clone, monkeypatch, capsys):
    monkeypatch.setattr(preflight, "least_memory", lambda host: (5.0, "It", "Add memory."))
    lifecycle.install(project)
    assert (
        "Advice: It has 5.0 GiB of memory. 8 GiB are recommended. Add memory.\n"
        in capsys.readouterr().out
    )


def test_the_first_install_chooses_docker_where_it_answers(make_settings, capsys):
    assert lifecycle.resolve_engine(make_settings(STACK_ENGINE="auto")).engine == "docker"
    assert capsys.readouterr().out == ""


def test_the_first_install_falls_back_and_says_why(make_settings, engine, capsys):
    engine.reasons = [problem("No Docker engine answers."), problem("No Compose.")]
    assert lifecycle.resolve_engine(make_settings(STACK_ENGINE="auto")).engine == "standalone"
    assert capsys.readouterr().out.splitlines() == [
        "STACK_ENGINE=standalone is used instead of docker. No Docker engine answers.",
        "To use Docker: Mend it.",
    ]


def test_data_without_containers_that_outlived_its_env_decides_for_its_engine(
    make_settings, engine, monkeypatch, capsys
):
    engines = {"docker": engine, "standalone": type(engine)()}
    monkeypatch.setattr(factory, "engine_for", lambda chosen: engines[chosen.engine])
    assert lifecycle.resolve_engine(make_settings(STACK_ENGINE="auto")).engine == "docker"
    engines["docker"].volumes = ["x_postgres"]
    assert lifecycle.resolve_engine(make_settings(STACK_ENGINE="auto")).engine == "docker"
    engines["standalone"].volumes = [".standalone/postgres"]
    assert lifecycle.resolve_engine(make_settings(STACK_ENGINE="auto")).engine == "standalone"
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["docker", "standalone"])
def test_an_engine_that_was_written_down_is_not_chosen_again(make_settings, engine, name):
    engine.reasons = [problem("no engine")]
    assert lifecycle.resolve_engine(make_settings(STACK_ENGINE=name)).engine == name


def test_an_engine_that_cannot_work_changes_nothing(project, clone, engine, monkeypatch):
    monkeypatch.setenv("STACK_ENGINE", "docker")
    monkeypatch.setattr(preflight, "resource_problems", lambda root: [problem("no disk")])
    engine.reasons = [problem("no engine")]
    before = files_of(clone)
    with pytest.raises(StackError) as refused:
        lifecycle.install(project)
    assert [one.cause for one in refused.value.problems] == ["no engine", "no disk"]
    assert files_of(clone) == before
    assert engine.asked == []


def test_install_refuses_data_whose_keys_are_gone(project, clone, engine):
    engine.volumes = ["x_postgres"]
    with pytest.raises(StackError, match=r"\.env with its keys is gone"):
        lifecycle.install(project)
    assert not (clone / ".env").exists()


def test_install_refuses_it_too_when_the_example_was_copied(project, clone, engine):
    engine.volumes = ["x_postgres"]
    (clone / ".env").write_text((clone / ".env.example").read_text())
    with pytest.raises(StackError, match="x_postgres"):
        lifecycle.install(project)


def test_install_keeps_data_whose_keys_are_there(project, clone, engine):
    lifecycle.install(project)
    engine.volumes = ["x_postgres"]
    lifecycle.install(project)
    assert engine.asked == [*INSTALLED, *INSTALLED]


def test_folders_that_exist_are_left_as_they_are(make_settings, clone):
    (clone / "logs").mkdir(mode=0o700)
    lifecycle.make_folders(make_settings())
    assert stat.S_IMODE((clone / "logs").stat().st_mode) == 0o700
    assert stat.S_IMODE((clone / "plugins").stat().st_mode) & 0o777 == 0o775


# up


def test_up_does_what_install_would_have_then_starts_and_tells_the_pages(
    project, clone, engine, web, capsys
):
    up.run(project, with_proof=False)
    assert engine.asked == [*INSTALLED, "up"]
    told = capsys.readouterr().out
    assert "✓ redis" in told
    assert "✓ mlflow from here" in told
    assert re.search(r"up in \d s\b", told)
    assert told.count(web.url) == 6
    assert "password in .env" in told


def test_up_of_an_installed_stack_only_starts(project, clone, engine):
    lifecycle.install(project)
    engine.asked.clear()
    up.run(project, with_proof=False)
    assert engine.asked == ["up"]


def test_up_builds_images_that_are_gone(project, clone, engine):
    lifecycle.install(project)
    engine.asked.clear()
    engine.built = False
    up.run(project, with_proof=False)
    assert engine.asked == [*INSTALLED, "up"]


def test_up_proves_the_stack_unless_told_not_to(project, clone, engine, monkeypatch, capsys):
    proven = []
    monkeypatch.setattr(canary, "prove", lambda airflow: proven.append(airflow.address))
    up.run(project)
    assert len(proven) == 1
    assert "up and proven in" in capsys.readouterr().out
    up.run(project, with_proof=False)
    assert len(proven) == 1


def test_up_refuses_where_the_engine_is_gone(project, clone, engine):
    lifecycle.install(project)
    engine.asked.clear()
    engine.reasons = [problem("no engine"), problem("no compose")]
    with pytest.raises(StackError, match=r"no engine\nMend it\.\n\nno compose\nMend it\."):
        up.run(project, with_proof=False)
    assert engine.asked == []


def test_up_refuses_a_strangers_port(project, clone, engine, monkeypatch):
    lifecycle.install(project)
    engine.asked.clear()
    engine.listed = [Service("postgres", "exited")]
    monkeypatch.setattr(preflight, "port_problem", lambda settings, name: problem("is taken"))
    with pytest.raises(StackError, match="is taken"):
        up.run(project, with_proof=False)
    assert engine.asked == []


def test_up_waits_until_the_services_say_so(project, clone, engine, web, capsys):
    web.answers["GET /api/v2/version"] = [(503, {}), (503, {}), (200, {})]
    up.run(project, with_proof=False)
    assert len(web.of("GET /api/v2/version")) == 3
    told = [line for line in capsys.readouterr().out.splitlines() if "apiserver from here" in line]
    assert ["… " in told[0], "✓ " in told[1], len(told)] == [True, True, 2]


def test_up_tells_a_failed_one_shot_with_its_last_lines(project, clone, engine, capsys):
    engine.listed += [
        Service("airflow-init", "exited", exit_code=1),
        Service("mlflow-migrate", "exited"),
    ]
    engine.said = {"airflow-init": "waiting\nFATAL: no schema", "mlflow-migrate": "done"}
    engine.start_fails = StackError("airflow-init didn't complete successfully")
    with pytest.raises(StackError) as failed:
        up.run(project, with_proof=False)
    assert str(failed.value).splitlines() == [
        "last lines of airflow-init:",
        "  waiting",
        "  FATAL: no schema",
        "airflow-init didn't complete successfully",
    ]


def test_up_gives_up_with_the_reason_and_the_next_command(
    project, clone, engine, web, monkeypatch, capsys
):
    monkeypatch.setattr(readiness, "READY_SECONDS", 0)
    web.stack_is_well(redis="down")
    engine.said = {"redis": "Out of memory"}
    with pytest.raises(StackError) as late:
        up.run(project, with_proof=False)
    assert str(late.value).splitlines() == [
        "not ready after 0 s",
        "redis: redis says so",
        "last lines of redis:",
        "  Out of memory",
        "Run: inv logs -s redis",
    ]


def test_up_tells_what_the_doctor_knows_of_it_below_the_error(project, clone, engine):
    engine.listed += [Service("airflow-init", "exited", exit_code=1)]
    engine.said = {"airflow-init": 'FATAL: password authentication failed for user "airflow"'}
    engine.start_fails = StackError("airflow-init didn't complete successfully")
    with pytest.raises(StackError) as failed:
        up.run(project, with_proof=False)
    *before, known, fix = str(failed.value).splitlines()
    assert before[-1] == "airflow-init didn't complete successfully"
    assert known.startswith("PostgreSQL rejects the password of airflow")
    assert fix == "Put the previous AIRFLOW_DB_PASSWORD back in .env, then run: inv up"


def test_a_doctor_that_knows_nothing_or_fails_leaves_the_error_as_it_is(
    project, clone, engine, monkeypatch
):
    engine.start_fails = StackError("it did not start")

    def examine(*arguments):
        raise RuntimeError("a bug of the doctor")

    for _ in range(2):
        with pytest.raises(StackError) as failed:
            up.run(project, with_proof=False)
        assert str(failed.value) == "it did not start"
        monkeypatch.setattr(diagnose, "examine", examine)


def test_up_gives_up_on_a_start_that_hangs(project, clone, engine, monkeypatch, capsys):
    monkeypatch.setattr(readiness, "READY_SECONDS", 0)
    engine.start_waits = threading.Event()
    with pytest.raises(StackError, match="not ready after 0 s"):
        up.run(project, with_proof=False)
    assert not engine.start_ended


# down


@pytest.mark.parametrize("yes", [True, False])
def test_down_keeps_the_data(project, clone, engine, yes):
    down.run(project, volumes=False, yes=yes)
    assert engine.asked == ["down volumes=False"]


def test_down_with_volumes_needs_a_yes(project, clone, engine):
    with pytest.raises(StackError, match=r"inv down --volumes --yes$"):
        down.run(project, volumes=True, yes=False)
    assert engine.asked == []


def test_data_of_a_lost_env_can_be_given_up(project, clone, engine):
    down.run(project, volumes=True, yes=True)
    assert engine.asked == ["down volumes=True"]
    assert not (clone / ".env").exists()


def test_a_lost_env_is_drafted_where_the_clone_is(project, clone, engine):
    (clone / ".env.example").write_text("no setting\n")
    with pytest.raises(StackError, match=r"\.env\.example"):
        down.run(project, volumes=False, yes=False)
    assert engine.asked == []


# a stack in use


@pytest.fixture
def proven(monkeypatch):
    """The addresses to which a canary was sent; each came back well."""
    proven = []
    monkeypatch.setattr(canary, "prove", lambda airflow: proven.append(airflow.address))
    return proven


@pytest.fixture
def in_use(project, clone, engine, proven, capsys):
    """An installed stack that runs, with its one-shots done."""
    lifecycle.install(project)
    engine.listed += [Service("airflow-init", "exited"), Service("mlflow-migrate", "exited")]
    engine.asked.clear()
    capsys.readouterr()
    return engine


VERBS = {
    "restart": lambda project: restart.run(project, None),
    "rebuild": lambda project: rebuild.run(project, "status"),
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_of_a_stack_that_is_not_installed_names_the_next_command(
    project, clone, engine, verb
):
    with pytest.raises(StackError, match=r"There is no \.env yet"):
        VERBS[verb](project)
    assert engine.asked == []


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_tells_all_that_its_engine_lacks(project, in_use, verb):
    in_use.reasons = ["no engine", "no compose"]
    with pytest.raises(StackError, match=r"^no engine\nno compose$"):
        VERBS[verb](project)
    assert in_use.asked == []


# restart


def test_restart_of_all_leaves_one_shots_out_and_proves_the_stack(project, in_use, proven, capsys):
    restart.run(project, None)
    names = "postgres redis airflow-scheduler airflow-worker mlflow status"
    assert in_use.asked == [f"restart {names}"]
    assert len(proven) == 1
    assert "restarted and proven in 0 s" in capsys.readouterr().out


def test_restart_of_one(project, in_use, proven):
    restart.run(project, "redis")
    assert in_use.asked == ["restart redis"]
    assert len(proven) == 1


@pytest.mark.parametrize(
    ("service", "why"),
    [("radis", "radis is not a service"), ("airflow-init", "airflow-init runs once")],
)
def test_restart_of_what_cannot_be_restarted_is_refused(project, in_use, proven, service, why):
    with pytest.raises(StackError, match=why) as refused:
        restart.run(project, service)
    assert "mlflow-migrate" not in str(refused.value)
    assert (in_use.asked, proven) == ([], [])


@pytest.mark.parametrize("state", ["exited", "absent"])
def test_restart_of_a_stack_that_does_not_run_is_refused(project, in_use, state):
    in_use.listed = [Service("redis", state), Service("airflow-init", "exited")]
    with pytest.raises(StackError, match="The stack is not running"):
        restart.run(project, "redis")
    assert in_use.asked == []


def test_restart_waits_for_what_was_heard_after_it(project, in_use, web, proven):
    born = datetime.now(UTC)
    in_use.listed[1] = Service("redis", "running", since=born)
    heard = (200, web.answers["GET /status.json"][1])
    old = {"name": "redis", "state": "up", "detail": "", "last_seen": str(born - timedelta(1))}
    rest = [verdict for verdict in heard[1]["services"] if verdict["name"] != "redis"]
    web.answers["GET /status.json"] = [*[(200, {"services": [*rest, old]})] * 2, heard]
    restart.run(project, "redis")
    assert len(web.of("GET /status.json")) == 3


def test_a_restart_that_fails_is_told_and_proves_nothing(project, in_use, proven):
    in_use.restart_fails = StackError("redis does not stop")
    with pytest.raises(StackError, match="redis does not stop"):
        restart.run(project, "redis")
    assert proven == []


# rebuild


OLD, NEW = b"humanize==4.0.0\n", "humanize==4.9.0\n"


@pytest.fixture
def lock(clone, recorded, monkeypatch):
    """The lock of what a person adds, which uv would compile anew; its requirements changed."""
    (clone / "install").mkdir()
    (clone / "install" / "requirements.txt").write_text("# mine\nhumanize>=4.9\n")
    path = clone / "install" / "requirements.lock"
    path.write_bytes(OLD)
    compiled = recorded.run

    def run(command, **options):
        if "compile" in command.argv:
            path.write_text(NEW)
        return compiled(command, **options)

    monkeypatch.setattr(runner, "run", run)
    return path


def test_rebuild_locks_builds_checks_adopts_and_only_then_swaps(
    project, in_use, lock, proven, capsys
):
    rebuild.run(project, None)
    assert in_use.asked == [
        "build",
        "import_errors",
        "activate",
        "replace airflow-init",
        "replace mlflow-migrate",
        "replace airflow-scheduler",
        "replace airflow-worker",
        "replace mlflow",
        "replace status",
        "prune",
    ]
    assert lock.read_text() == NEW
    assert len(proven) == 1
    told = capsys.readouterr().out
    assert "✓ mlflow                 swapped" in told
    assert "rebuilt, swapped and proven in 0 s" in told


def test_rebuild_of_a_service_without_requirements_leaves_the_lock_alone(
    project, in_use, lock, recorded
):
    rebuild.run(project, "status")
    assert in_use.asked == ["build status", "activate status", "replace status", "prune"]
    assert (lock.read_bytes(), recorded.commands) == (OLD, [])


def test_rebuild_of_one_airflow_service_swaps_it_alone(project, in_use, lock):
    rebuild.run(project, "airflow-worker")
    built = ["build airflow", "import_errors", "activate airflow"]
    assert in_use.asked == [*built, "replace airflow-worker", "prune"]
    assert lock.read_text() == NEW


@pytest.mark.parametrize(
    ("service", "why"),
    [("postgres", "postgres is not built here"), ("nosuch", "nosuch is not a service")],
)
def test_rebuild_of_what_is_not_built_here_is_refused(
    project, in_use, lock, recorded, service, why
):
    with pytest.raises(StackError, match=why) as refused:
        rebuild.run(project, service)
    assert "redis" not in str(refused.value)
    assert (in_use.asked, recorded.commands, lock.read_bytes()) == ([], [], OLD)


def test_a_stopped_stack_is_built_and_not_started(project, in_use, lock, proven, capsys):
    in_use.listed = [Service(service.name, "exited") for service in in_use.listed]
    rebuild.run(project, None)
    assert in_use.asked == ["build", "import_errors", "activate", "prune"]
    assert lock.read_text() == NEW
    assert proven == []
    assert capsys.readouterr().out == "built; nothing runs that could be swapped: inv up\n"


def refused_rebuild(project, engine, lock, error=StackError):
    """What a rebuild says that fails; nothing is adopted, swapped or locked by it."""
    with pytest.raises(error) as failed:
        rebuild.run(project, None)
    assert not [word for word in engine.asked if word.startswith(("activate", "replace"))]
    assert lock.read_bytes() == OLD
    return str(failed.value)


def test_a_build_that_fails_changes_nothing_and_names_the_line(project, in_use, lock):
    in_use.build_fails = StackError("failed to build humanize")
    told = refused_rebuild(project, in_use, lock)
    assert "failed to build humanize" in told
    assert "install/requirements.txt line 2: humanize>=4.9" in told
    assert "import_errors" not in in_use.asked


def test_what_cannot_be_tidied_does_not_hide_why_it_failed(project, in_use, lock):
    in_use.build_fails = StackError("failed to build humanize")
    in_use.prune_fails = StackError("no Docker engine answers")
    told = refused_rebuild(project, in_use, lock)
    assert "failed to build humanize" in told
    assert "no Docker engine answers" not in told


def test_dags_that_do_not_import_change_nothing(project, in_use, lock):
    in_use.errors = "flights.py: No module named 'pandas'"
    told = refused_rebuild(project, in_use, lock)
    assert "these DAGs do not import:\nflights.py: No module named 'pandas'" in told


def test_a_lock_that_cannot_be_compiled_builds_nothing(project, in_use, lock, recorded):
    recorded.failures = {"pip compile": "no solution: humanize>=4.9"}
    assert "no solution" in refused_rebuild(project, in_use, lock)
    assert "build" not in in_use.asked


@pytest.mark.parametrize("where", ["build", "import_errors"])
def test_an_interrupt_changes_nothing(project, in_use, lock, monkeypatch, where):
    def interrupted(*arguments):
        assert lock.read_text() == NEW
        raise KeyboardInterrupt

    monkeypatch.setattr(in_use, where, interrupted)
    refused_rebuild(project, in_use, lock, KeyboardInterrupt)


def test_an_interrupt_while_the_lock_is_compiled_changes_nothing(
    project, in_use, lock, monkeypatch
):
    def interrupted(command, **options):
        lock.write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "run", interrupted)
    refused_rebuild(project, in_use, lock, KeyboardInterrupt)


def test_a_swap_that_fails_ends_it_with_the_lock_of_what_was_adopted(project, in_use, lock, proven):
    in_use.replace_fails = {"airflow-scheduler": StackError("the scheduler does not start")}
    with pytest.raises(StackError, match="the scheduler does not start"):
        rebuild.run(project, None)
    swapped = [word for word in in_use.asked if word.startswith("replace")]
    assert swapped == [
        "replace airflow-init",
        "replace mlflow-migrate",
        "replace airflow-scheduler",
    ]
    assert lock.read_text() == NEW
    assert proven == []


def test_swaps_wait_for_their_turn_and_each_is_waited_for(project, in_use, monkeypatch, capsys):
    ended = []
    monkeypatch.setattr(in_use, "replace", lambda name: time.sleep(0.05) or ended.append(name))
    lifecycle.replace_all(project.settings(), in_use, ["mlflow", "status"])
    assert ended == ["mlflow", "status"]
    told = [line.split(maxsplit=2)[2] for line in capsys.readouterr().out.splitlines()]
    assert told[:2] == [
        "… mlflow                 is swapped, running tasks end first",
        "… status                 waits for its turn",
    ]
    assert "✓ status                 swapped" in told


def test_a_stack_that_is_not_well_after_its_swap_is_told(project, in_use, web, proven, monkeypatch):
    monkeypatch.setattr(readiness, "READY_SECONDS", 0)
    web.stack_is_well(redis="down")
    with pytest.raises(StackError, match="not ready after 0 s\nredis: redis says so"):
        rebuild.run(project, "status")
    assert proven == []
