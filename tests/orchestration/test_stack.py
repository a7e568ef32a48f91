"""The verbs with an engine of paper and stub services: what each does, refuses and says."""

import json
import stat
import threading

import pytest

from orchestration import StackError, health, preflight, proof, stack, tables
from orchestration.engine import Service
from orchestration.health import Check, Report, Row
from orchestration.settings import SECRETS, Settings

PLACES = ("AIRFLOW_PORT", "MLFLOW_PORT", "STATUS_PORT")


@pytest.fixture(autouse=True)
def machine(clone, engine, web, monkeypatch):
    """A good machine with an engine, where every service answers well at once."""
    for name, port in web.stack_is_well().items():
        monkeypatch.setenv(name, str(port))
    monkeypatch.setattr(stack, "engine_for", lambda chosen: engine)
    monkeypatch.setattr(stack, "POLL_SECONDS", 0)
    monkeypatch.setattr(preflight, "resource_problems", lambda root: [])
    monkeypatch.setattr(preflight, "memory_gib", lambda: 16.0)
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
    assert engine.asked == ["build"]
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
    assert engine.asked == ["build", "build"]


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
    monkeypatch.setattr(preflight, "memory_gib", lambda: 5.0)
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
    assert engine.asked == ["build", "build"]


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
    assert engine.asked == ["build", "up"]
    told = capsys.readouterr().out
    assert "✓ redis" in told
    assert "✓ mlflow from here" in told
    assert "up in 0 s" in told
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
    assert engine.asked == ["build", "up"]


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
    monkeypatch.setattr(stack, "READY_SECONDS", 0)
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


def test_up_gives_up_on_a_start_that_hangs(clone, engine, monkeypatch, capsys):
    monkeypatch.setattr(stack, "READY_SECONDS", 0)
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


# health


def test_health_of_a_stack_that_is_well(clone, engine, capsys):
    stack.install()
    engine.held = {"redis": 5 * 2**20}
    capsys.readouterr()
    assert stack.report_health(as_json=False, deep=False)
    told = capsys.readouterr().out.splitlines()
    [redis] = [line for line in told if " redis " in line]
    assert "✓" in redis
    assert "5 MiB" in redis
    assert told[-1] == "healthy (docker)"


def test_health_for_machines_is_json_alone(clone, engine, web, capsys):
    stack.install()
    web.stack_is_well(redis="down")
    capsys.readouterr()
    assert not stack.report_health(as_json=True, deep=False)
    document = json.loads(capsys.readouterr().out)
    assert document["status"] == "degraded"
    assert {row["name"] for row in document["services"] if not row["healthy"]} == {"redis"}


def test_health_of_an_ill_stack_is_explained(clone, engine, web, capsys):
    stack.install()
    web.stack_is_well(redis="down")
    assert not stack.report_health(as_json=False, deep=False)
    assert capsys.readouterr().out.splitlines()[-1] == "next: inv logs -s redis"


def test_deep_health_sends_the_canary_but_not_through_an_ill_stack(clone, web, monkeypatch):
    stack.install()
    proven = []
    monkeypatch.setattr(proof, "prove", lambda airflow, console: proven.append(1) or "well")
    assert stack.report_health(as_json=False, deep=True)
    assert len(proven) == 1
    web.stack_is_well(redis="down")
    assert not stack.report_health(as_json=False, deep=True)
    assert len(proven) == 1


def test_deep_health_for_machines_is_json_alone_too(clone, monkeypatch, capsys):
    stack.install()
    capsys.readouterr()
    monkeypatch.setattr(proof, "prove", lambda airflow, console: console.print("✓") or "well")
    assert stack.report_health(as_json=True, deep=True)
    said = json.loads(capsys.readouterr().out)
    assert said["status"] == "healthy"
    assert said["checks"][-1]["name"] == "canary"


def test_deep_health_fails_with_the_canary(clone, monkeypatch, capsys):
    def refuse(airflow, console):
        raise StackError("the proof failed")

    stack.install()
    monkeypatch.setattr(proof, "prove", refuse)
    assert not stack.report_health(as_json=False, deep=True)
    assert "the proof failed" in capsys.readouterr().out


def test_the_table_shows_a_detail_in_brackets(capsys):
    row = Row("redis", "exited", False, None, 0, None, "[/data/x] is gone")
    tables.print_table(Report("docker", [row], [Check("mlflow", True, 1.0, "")]))
    assert "[/data/x] is gone" in capsys.readouterr().out


# logs


def test_logs_of_all_or_one(clone, engine):
    stack.install()
    engine.asked.clear()
    stack.show_logs(None, tail="5", since="", follow=False)
    stack.show_logs("redis", tail="9", since="10m", follow=True)
    assert engine.asked == [("logs", [], 5, "", False), ("logs", ["redis"], 9, "10m", True)]


def test_logs_of_a_service_that_does_not_exist(clone, engine):
    stack.install()
    with pytest.raises(StackError, match="there is no service radis; known: postgres, redis"):
        stack.show_logs("radis", tail="5", since="", follow=False)


@pytest.mark.parametrize(("code", "is_error"), [(0, False), (130, False), (1, True)])
def test_an_interrupt_while_following_is_no_error(clone, engine, code, is_error):
    stack.install()
    engine.exit_code = code
    if is_error:
        with pytest.raises(StackError, match="inv health"):
            stack.show_logs(None, tail="5", since="", follow=True)
    else:
        stack.show_logs(None, tail="5", since="", follow=True)


# trigger


@pytest.mark.parametrize(
    ("conf", "value"),
    [(None, {}), ("", {}), ("{}", {}), ('{"seed": 7, "deep": {"a": [1]}}', None)],
)
def test_a_conf_is_a_json_object(conf, value):
    expected = json.loads(conf) if value is None else value
    assert stack.parse_conf(conf) == expected


@pytest.mark.parametrize(
    ("conf", "why"),
    [
        ("{seed: 7}", "--conf is not JSON"),
        ("{", "--conf is not JSON"),
        ("[1]", "--conf must be a JSON object"),
        ("7", "--conf must be a JSON object"),
        ("null", "--conf must be a JSON object"),
    ],
)
def test_a_conf_that_is_none_is_refused_before_anything_is_asked(clone, web, conf, why):
    stack.install()
    with pytest.raises(StackError, match=why):
        stack.trigger("flights", conf, wait=False)
    assert web.asked == []


@pytest.fixture
def flights(clone, web):
    """A DAG whose run succeeds, of an installed stack."""
    stack.install()
    dag, run = "/api/v2/dags/flights", "/api/v2/dags/flights/dagRuns/r1"
    task = {"task_id": "one", "state": "success", "start_date": "2026", "map_index": -1}
    web.answers |= {
        "POST /auth/token": (201, {"access_token": "t0ken"}),
        f"GET {dag}": (200, {"is_paused": False}),
        f"POST {dag}/dagRuns": (200, {"dag_run_id": "r1"}),
        f"GET {run}": (200, {"state": "success"}),
        f"GET {run}/taskInstances": (
            200,
            {"task_instances": [task | {"try_number": 1, "duration": 2.0}]},
        ),
        f"GET {run}/taskInstances/one/logs/1": (200, {"content": []}),
    }
    return web


def test_trigger_tells_where_to_watch(flights, capsys):
    stack.trigger("flights", '{"seed": 7}', wait=False)
    told = capsys.readouterr().out.splitlines()
    assert told[-2:] == [
        "flights: run r1 started",
        f"watch it: {flights.url}/dags/flights/runs/r1",
    ]
    assert flights.of("POST /api/v2/dags/flights/dagRuns")[0]["body"]["conf"] == {"seed": 7}


def test_trigger_with_wait_tells_the_end(flights, capsys):
    stack.trigger("flights", None, wait=True)
    assert capsys.readouterr().out.splitlines()[-1] == "flights: success in 0 s"


def test_trigger_with_wait_fails_with_the_run(flights):
    flights.answers["GET /api/v2/dags/flights/dagRuns/r1"] = (200, {"state": "failed"})
    with pytest.raises(StackError, match="flights failed without a failed task"):
        stack.trigger("flights", None, wait=True)


def test_every_verb_of_a_stack_that_is_not_installed_names_the_next_command(clone):
    for verb in (
        lambda: stack.report_health(as_json=False, deep=False),
        lambda: stack.show_logs(None, tail="1", since="", follow=False),
        lambda: stack.trigger("flights", None, wait=False),
    ):
        with pytest.raises(StackError, match="inv install"):
            verb()


def test_a_one_shot_that_runs_is_not_yet_bad():
    row = Row("airflow-init", "running", False, None, 0, None, "running")
    assert tables._line(row)[1] == "wait"
    exited = health.Row("airflow-init", "exited", False, None, 0, None, "exited, exit code 1")
    assert tables._line(exited)[1] == "bad"
