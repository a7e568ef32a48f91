"""The verbs that change the stack, with an engine of paper and stubs: what each does and says."""

import re
import stat
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from orchestration import StackError, doctor, preflight, proof, shell, stack, waiting
from orchestration.engine import Service
from orchestration.settings import SECRETS, Settings

PLACES = ("AIRFLOW_PORT", "MLFLOW_PORT", "STATUS_PORT")
INSTALLED = ["build", "activate", "prune"]


@pytest.fixture(autouse=True)
def machine(clone, engine, web, monkeypatch):
    """A good machine with an engine, where every service answers well at once."""
    for name, port in web.stack_is_well().items():
        monkeypatch.setenv(name, str(port))
    monkeypatch.setattr(stack, "engine_for", lambda chosen: engine)
    monkeypatch.setattr(waiting, "POLL_SECONDS", 0)
    monkeypatch.setattr(waiting, "READY_SECONDS", 5)
    monkeypatch.setattr(preflight, "resource_problems", lambda root: [])
    monkeypatch.setattr(preflight, "least_memory", lambda host: (16.0, "", ""))
    monkeypatch.setattr(preflight, "least_cpus", lambda host: 4)
    # The stub listens on all three ports before the paper engine has "started" anything.
    monkeypatch.setattr(preflight, "unusable", lambda address, port: "")


def files_of(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# install


def test_install_writes_the_settings_makes_folders_and_builds(clone, engine, capsys):
    stack.install()
    chosen = Settings.load(clone, {})
    assert chosen.engine == "docker"
    assert all(chosen[name] for name in SECRETS)
    assert stat.S_IMODE((clone / ".env").stat().st_mode) == 0o600
    assert engine.asked == INSTALLED
    for name in ("logs", "plugins", "dags"):
        # The bit for the group may be lost on a file system that is mounted without it.
        assert stat.S_IMODE((clone / name).stat().st_mode) & 0o777 == 0o775
    assert capsys.readouterr().out == ".env made from .env.example\n"


def test_install_again_changes_nothing_and_says_nothing(clone, engine, capsys):
    stack.install()
    before = (clone / ".env").read_bytes()
    capsys.readouterr()
    stack.install()
    assert (clone / ".env").read_bytes() == before
    assert capsys.readouterr().out == ""
    assert engine.asked == [*INSTALLED, *INSTALLED]


def test_install_tells_all_problems_at_once_and_changes_nothing(clone, engine, monkeypatch):
    monkeypatch.setattr(preflight, "resource_problems", lambda root: ["no memory", "no disk"])
    monkeypatch.setattr(preflight, "unusable", lambda address, port: "is taken")
    engine.listed, engine.volumes = [Service("postgres", "absent")], ["x_postgres"]
    before = files_of(clone)
    with pytest.raises(StackError) as refused:
        stack.install()
    head, *told = str(refused.value).splitlines()
    assert head == "nothing was changed; in the way:"
    assert [line[:4] for line in told] == ["  - "] * 7
    assert told[:2] == ["  - no memory", "  - no disk"]
    assert sum("is taken" in line for line in told) == 3
    assert "x_postgres" in told[-1]
    assert files_of(clone) == before
    assert engine.asked == []


def test_install_says_what_is_advised(clone, monkeypatch, capsys):
    monkeypatch.setattr(preflight, "least_memory", lambda host: (5.0, "", ""))
    stack.install()
    assert "advice: 5.0 GiB of memory: 8 GiB are advised\n" in capsys.readouterr().out


def test_the_first_install_chooses_docker_where_it_answers(make_settings, capsys):
    assert stack.decided(make_settings(STACK_ENGINE="auto")).engine == "docker"
    assert capsys.readouterr().out == ""


def test_the_first_install_falls_back_and_says_why(make_settings, engine, capsys):
    engine.reasons = ["no Docker engine answers", "no Compose"]
    assert stack.decided(make_settings(STACK_ENGINE="auto")).engine == "standalone"
    assert capsys.readouterr().out.splitlines() == [
        "STACK_ENGINE=standalone, because no Docker engine answers"
    ]


def test_data_without_containers_that_outlived_its_env_decides_for_its_engine(
    make_settings, engine, monkeypatch, capsys
):
    engines = {"docker": engine, "standalone": type(engine)()}
    monkeypatch.setattr(stack, "engine_for", lambda chosen: engines[chosen.engine])
    assert stack.decided(make_settings(STACK_ENGINE="auto")).engine == "docker"
    engines["docker"].volumes = ["x_postgres"]
    assert stack.decided(make_settings(STACK_ENGINE="auto")).engine == "docker"
    engines["standalone"].volumes = [".standalone/postgres"]
    assert stack.decided(make_settings(STACK_ENGINE="auto")).engine == "standalone"
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["docker", "standalone"])
def test_an_engine_that_was_written_down_is_not_chosen_again(make_settings, engine, name):
    engine.reasons = ["no engine"]
    assert stack.decided(make_settings(STACK_ENGINE=name)).engine == name


def test_an_engine_that_cannot_work_changes_nothing(clone, engine, monkeypatch):
    monkeypatch.setenv("STACK_ENGINE", "docker")
    monkeypatch.setattr(preflight, "resource_problems", lambda root: ["no disk"])
    engine.reasons = ["no Docker engine answers: start it"]
    before = files_of(clone)
    with pytest.raises(StackError, match="no Docker engine answers: start it\n  - no disk"):
        stack.install()
    assert files_of(clone) == before
    assert engine.asked == []


def test_install_refuses_data_whose_keys_are_gone(clone, engine):
    engine.volumes = ["x_postgres"]
    with pytest.raises(StackError, match=r"its \.env is gone"):
        stack.install()
    assert not (clone / ".env").exists()


def test_install_refuses_it_too_when_the_example_was_copied(clone, engine):
    engine.volumes = ["x_postgres"]
    (clone / ".env").write_text((clone / ".env.example").read_text())
    with pytest.raises(StackError, match="x_postgres"):
        stack.install()


def test_install_keeps_data_whose_keys_are_there(clone, engine):
    stack.install()
    engine.volumes = ["x_postgres"]
    stack.install()
    assert engine.asked == [*INSTALLED, *INSTALLED]


def test_folders_that_exist_are_left_as_they_are(make_settings, clone):
    (clone / "logs").mkdir(mode=0o700)
    stack.make_folders(make_settings())
    assert stat.S_IMODE((clone / "logs").stat().st_mode) == 0o700
    assert stat.S_IMODE((clone / "plugins").stat().st_mode) & 0o777 == 0o775


# up


def test_up_does_what_install_would_have_then_starts_and_tells_the_pages(
    clone, engine, web, capsys
):
    stack.up(with_proof=False)
    assert engine.asked == [*INSTALLED, "up"]
    told = capsys.readouterr().out
    assert "✓ redis" in told
    assert "✓ mlflow from here" in told
    assert re.search(r"up in \d s\b", told)
    assert told.count(web.url) == 6
    assert "password in .env" in told


def test_up_of_an_installed_stack_only_starts(clone, engine):
    stack.install()
    engine.asked.clear()
    stack.up(with_proof=False)
    assert engine.asked == ["up"]


def test_up_builds_images_that_are_gone(clone, engine):
    stack.install()
    engine.asked.clear()
    engine.built = False
    stack.up(with_proof=False)
    assert engine.asked == [*INSTALLED, "up"]


def test_up_proves_the_stack_unless_told_not_to(clone, engine, monkeypatch, capsys):
    proven = []
    monkeypatch.setattr(proof, "prove", lambda airflow: proven.append(airflow.address))
    stack.up()
    assert len(proven) == 1
    assert "up and proven in" in capsys.readouterr().out
    stack.up(with_proof=False)
    assert len(proven) == 1


def test_up_refuses_where_the_engine_is_gone(clone, engine):
    stack.install()
    engine.asked.clear()
    engine.reasons = ["no engine", "no compose"]
    with pytest.raises(StackError, match="no engine\nno compose"):
        stack.up(with_proof=False)
    assert engine.asked == []


def test_up_refuses_a_strangers_port(clone, engine, monkeypatch):
    stack.install()
    engine.asked.clear()
    engine.listed = [Service("postgres", "exited")]
    monkeypatch.setattr(preflight, "unusable", lambda address, port: "is taken")
    with pytest.raises(StackError, match="is taken"):
        stack.up(with_proof=False)
    assert engine.asked == []


def test_up_waits_until_the_services_say_so(clone, engine, web, capsys):
    web.answers["GET /api/v2/version"] = [(503, {}), (503, {}), (200, {})]
    stack.up(with_proof=False)
    assert len(web.of("GET /api/v2/version")) == 3
    told = [line for line in capsys.readouterr().out.splitlines() if "apiserver from here" in line]
    assert ["… " in told[0], "✓ " in told[1], len(told)] == [True, True, 2]


def test_up_tells_a_failed_one_shot_with_its_last_lines(clone, engine, capsys):
    engine.listed += [
        Service("airflow-init", "exited", exit_code=1),
        Service("mlflow-migrate", "exited"),
    ]
    engine.said = {"airflow-init": "waiting\nFATAL: no schema", "mlflow-migrate": "done"}
    engine.start_fails = StackError("airflow-init didn't complete successfully")
    with pytest.raises(StackError) as failed:
        stack.up(with_proof=False)
    assert str(failed.value).splitlines() == [
        "last lines of airflow-init:",
        "  waiting",
        "  FATAL: no schema",
        "airflow-init didn't complete successfully",
    ]


def test_up_gives_up_with_the_reason_and_the_next_command(clone, engine, web, monkeypatch, capsys):
    monkeypatch.setattr(waiting, "READY_SECONDS", 0)
    web.stack_is_well(redis="down")
    engine.said = {"redis": "Out of memory"}
    with pytest.raises(StackError) as late:
        stack.up(with_proof=False)
    assert str(late.value).splitlines() == [
        "not ready after 0 s",
        "redis: redis says so",
        "last lines of redis:",
        "  Out of memory",
        "next: inv logs -s redis",
    ]


def test_up_tells_what_the_doctor_knows_of_it_below_the_error(clone, engine):
    engine.listed += [Service("airflow-init", "exited", exit_code=1)]
    engine.said = {"airflow-init": 'FATAL: password authentication failed for user "airflow"'}
    engine.start_fails = StackError("airflow-init didn't complete successfully")
    with pytest.raises(StackError) as failed:
        stack.up(with_proof=False)
    *before, known, fix = str(failed.value).splitlines()
    assert before[-1] == "airflow-init didn't complete successfully"
    assert known.startswith("database-password: PostgreSQL refuses the password of airflow")
    assert fix == "  fix: put the AIRFLOW_DB_PASSWORD of then back in .env, then: inv up"


def test_a_doctor_that_knows_nothing_or_fails_leaves_the_error_as_it_is(clone, engine, monkeypatch):
    engine.start_fails = StackError("it did not start")

    def examine(*arguments):
        raise RuntimeError("a bug of the doctor")

    for _ in range(2):
        with pytest.raises(StackError) as failed:
            stack.up(with_proof=False)
        assert str(failed.value) == "it did not start"
        monkeypatch.setattr(doctor, "examine", examine)


def test_up_gives_up_on_a_start_that_hangs(clone, engine, monkeypatch, capsys):
    monkeypatch.setattr(waiting, "READY_SECONDS", 0)
    engine.start_waits = threading.Event()
    with pytest.raises(StackError, match="not ready after 0 s"):
        stack.up(with_proof=False)
    assert not engine.start_ended


# down


@pytest.mark.parametrize("yes", [True, False])
def test_down_keeps_the_data(clone, engine, yes):
    stack.down(volumes=False, yes=yes)
    assert engine.asked == ["down volumes=False"]


def test_down_with_volumes_needs_a_yes(clone, engine):
    with pytest.raises(StackError, match=r"inv down --volumes --yes$"):
        stack.down(volumes=True, yes=False)
    assert engine.asked == []


def test_data_of_a_lost_env_can_be_given_up(clone, engine):
    stack.down(volumes=True, yes=True)
    assert engine.asked == ["down volumes=True"]
    assert not (clone / ".env").exists()


def test_a_lost_env_is_drafted_where_the_clone_is(clone, engine):
    (clone / ".env.example").write_text("no setting\n")
    with pytest.raises(StackError, match=r"\.env\.example"):
        stack.down(volumes=False, yes=False)
    assert engine.asked == []


# a stack in use


@pytest.fixture
def proven(monkeypatch):
    """The addresses to which a canary was sent; each came back well."""
    proven = []
    monkeypatch.setattr(proof, "prove", lambda airflow: proven.append(airflow.address))
    return proven


@pytest.fixture
def in_use(clone, engine, proven, capsys):
    """An installed stack that runs, with its one-shots done."""
    stack.install()
    engine.listed += [Service("airflow-init", "exited"), Service("mlflow-migrate", "exited")]
    engine.asked.clear()
    capsys.readouterr()
    return engine


VERBS = {"restart": lambda: stack.restart(None), "rebuild": lambda: stack.rebuild("status")}


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_of_a_stack_that_is_not_installed_names_the_next_command(clone, engine, verb):
    with pytest.raises(StackError, match=r"there is no \.env here yet: inv install"):
        VERBS[verb]()
    assert engine.asked == []


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_tells_all_that_its_engine_lacks(in_use, verb):
    in_use.reasons = ["no engine", "no compose"]
    with pytest.raises(StackError, match=r"^no engine\nno compose$"):
        VERBS[verb]()
    assert in_use.asked == []


# restart


def test_restart_of_all_leaves_one_shots_out_and_proves_the_stack(in_use, proven, capsys):
    stack.restart(None)
    names = "postgres redis airflow-scheduler airflow-worker mlflow status"
    assert in_use.asked == [f"restart {names}"]
    assert len(proven) == 1
    assert "restarted and proven in 0 s" in capsys.readouterr().out


def test_restart_of_one(in_use, proven):
    stack.restart("redis")
    assert in_use.asked == ["restart redis"]
    assert len(proven) == 1


@pytest.mark.parametrize(
    ("service", "why"),
    [
        ("radis", "there is no service radis; known: postgres, redis"),
        ("airflow-init", "airflow-init runs once, by inv up; possible: postgres, redis"),
    ],
)
def test_restart_of_what_cannot_be_restarted_is_refused(in_use, proven, service, why):
    with pytest.raises(StackError, match=why) as refused:
        stack.restart(service)
    assert "mlflow-migrate" not in str(refused.value)
    assert (in_use.asked, proven) == ([], [])


@pytest.mark.parametrize("state", ["exited", "absent"])
def test_restart_of_a_stack_that_does_not_run_is_refused(in_use, state):
    in_use.listed = [Service("redis", state), Service("airflow-init", "exited")]
    with pytest.raises(StackError, match="nothing runs that could be restarted: inv up"):
        stack.restart("redis")
    assert in_use.asked == []


def test_restart_waits_for_what_was_heard_after_it(in_use, web, proven):
    born = datetime.now(UTC)
    in_use.listed[1] = Service("redis", "running", since=born)
    heard = (200, web.answers["GET /status.json"][1])
    old = {"name": "redis", "state": "up", "detail": "", "last_seen": str(born - timedelta(1))}
    rest = [verdict for verdict in heard[1]["services"] if verdict["name"] != "redis"]
    web.answers["GET /status.json"] = [*[(200, {"services": [*rest, old]})] * 2, heard]
    stack.restart("redis")
    assert len(web.of("GET /status.json")) == 3


def test_a_restart_that_fails_is_told_and_proves_nothing(in_use, proven):
    in_use.restart_fails = StackError("redis does not stop")
    with pytest.raises(StackError, match="redis does not stop"):
        stack.restart("redis")
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

    monkeypatch.setattr(shell, "run", run)
    return path


def test_rebuild_locks_builds_checks_adopts_and_only_then_swaps(in_use, lock, proven, capsys):
    stack.rebuild(None)
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


def test_rebuild_of_a_service_without_requirements_leaves_the_lock_alone(in_use, lock, recorded):
    stack.rebuild("status")
    assert in_use.asked == ["build status", "activate status", "replace status", "prune"]
    assert (lock.read_bytes(), recorded.commands) == (OLD, [])


def test_rebuild_of_one_airflow_service_swaps_it_alone(in_use, lock):
    stack.rebuild("airflow-worker")
    built = ["build airflow", "import_errors", "activate airflow"]
    assert in_use.asked == [*built, "replace airflow-worker", "prune"]
    assert lock.read_text() == NEW


@pytest.mark.parametrize(
    ("service", "why"),
    [
        ("postgres", "postgres is not built here; possible: airflow-scheduler, airflow-worker, "),
        ("nosuch", "there is no service nosuch; known: airflow-scheduler, airflow-worker, "),
    ],
)
def test_rebuild_of_what_is_not_built_here_is_refused(in_use, lock, recorded, service, why):
    with pytest.raises(StackError, match=why) as refused:
        stack.rebuild(service)
    assert "redis" not in str(refused.value)
    assert (in_use.asked, recorded.commands, lock.read_bytes()) == ([], [], OLD)


def test_a_stopped_stack_is_built_and_not_started(in_use, lock, proven, capsys):
    in_use.listed = [Service(service.name, "exited") for service in in_use.listed]
    stack.rebuild(None)
    assert in_use.asked == ["build", "import_errors", "activate", "prune"]
    assert lock.read_text() == NEW
    assert proven == []
    assert capsys.readouterr().out == "built; nothing runs that could be swapped: inv up\n"


def refused_rebuild(engine, lock, error=StackError):
    """What a rebuild says that fails; nothing is adopted, swapped or locked by it."""
    with pytest.raises(error) as failed:
        stack.rebuild(None)
    assert not [word for word in engine.asked if word.startswith(("activate", "replace"))]
    assert lock.read_bytes() == OLD
    return str(failed.value)


def test_a_build_that_fails_changes_nothing_and_names_the_line(in_use, lock):
    in_use.build_fails = StackError("failed to build humanize")
    told = refused_rebuild(in_use, lock)
    assert "failed to build humanize" in told
    assert "install/requirements.txt line 2: humanize>=4.9" in told
    assert "import_errors" not in in_use.asked


def test_what_cannot_be_tidied_does_not_hide_why_it_failed(in_use, lock):
    in_use.build_fails = StackError("failed to build humanize")
    in_use.prune_fails = StackError("no Docker engine answers")
    told = refused_rebuild(in_use, lock)
    assert "failed to build humanize" in told
    assert "no Docker engine answers" not in told


def test_dags_that_do_not_import_change_nothing(in_use, lock):
    in_use.errors = "flights.py: No module named 'pandas'"
    told = refused_rebuild(in_use, lock)
    assert "these DAGs do not import:\nflights.py: No module named 'pandas'" in told


def test_a_lock_that_cannot_be_compiled_builds_nothing(in_use, lock, recorded):
    recorded.failures = {"pip compile": "no solution: humanize>=4.9"}
    assert "no solution" in refused_rebuild(in_use, lock)
    assert "build" not in in_use.asked


@pytest.mark.parametrize("where", ["build", "import_errors"])
def test_an_interrupt_changes_nothing(in_use, lock, monkeypatch, where):
    def interrupted(*arguments):
        assert lock.read_text() == NEW
        raise KeyboardInterrupt

    monkeypatch.setattr(in_use, where, interrupted)
    refused_rebuild(in_use, lock, KeyboardInterrupt)


def test_an_interrupt_while_the_lock_is_compiled_changes_nothing(in_use, lock, monkeypatch):
    def interrupted(command, **options):
        lock.write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(shell, "run", interrupted)
    refused_rebuild(in_use, lock, KeyboardInterrupt)


def test_a_swap_that_fails_ends_it_with_the_lock_of_what_was_adopted(in_use, lock, proven):
    in_use.replace_fails = {"airflow-scheduler": StackError("the scheduler does not start")}
    with pytest.raises(StackError, match="the scheduler does not start"):
        stack.rebuild(None)
    swapped = [word for word in in_use.asked if word.startswith("replace")]
    assert swapped == [
        "replace airflow-init",
        "replace mlflow-migrate",
        "replace airflow-scheduler",
    ]
    assert lock.read_text() == NEW
    assert proven == []


def test_swaps_wait_for_their_turn_and_each_is_waited_for(in_use, monkeypatch, capsys):
    ended = []
    monkeypatch.setattr(in_use, "replace", lambda name: time.sleep(0.05) or ended.append(name))
    stack.replace_all(Settings.load(), in_use, ["mlflow", "status"])
    assert ended == ["mlflow", "status"]
    told = [line.split(maxsplit=2)[2] for line in capsys.readouterr().out.splitlines()]
    assert told[:2] == [
        "… mlflow                 is swapped, running tasks end first",
        "… status                 waits for its turn",
    ]
    assert "✓ status                 swapped" in told


def test_a_stack_that_is_not_well_after_its_swap_is_told(in_use, web, proven, monkeypatch):
    monkeypatch.setattr(waiting, "READY_SECONDS", 0)
    web.stack_is_well(redis="down")
    with pytest.raises(StackError, match="not ready after 0 s\nredis: redis says so"):
        stack.rebuild("status")
    assert proven == []
