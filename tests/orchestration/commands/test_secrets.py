"""A rotation in a stack of paper: its order, what is left where it was ended, what is refused."""

import json
import stat

import pytest

from orchestration import pending
from orchestration.backup import archive
from orchestration.clients import accounts
from orchestration.commands import backup as backup_command
from orchestration.commands import secrets, up
from orchestration.engines.base import Service
from orchestration.errors import StackError
from orchestration.health import canary
from orchestration.process import background
from orchestration.project import Project
from orchestration.settings.model import FORMER_KEYS, SECRETS

KEY, ADMIN = "AIRFLOW_FERNET_KEY", "_AIRFLOW_WWW_USER_PASSWORD"
SCRIPT = """
import json, sys
open({said!r}, "w").write(sys.stdin.read())
print("a line of the engine's")
print(json.dumps({{"encrypted_anew": 7}}))
"""


@pytest.fixture(autouse=True)
def well(web, monkeypatch, lived_in, engine, tmp_path):
    """Every service answers well, the canary comes through, the script does what it is asked."""
    for name, port in web.stack_is_well().items():
        monkeypatch.setenv(name, str(port))
    web.answers["POST /auth/token"] = (201, {"access_token": "t0ken"})
    monkeypatch.setattr(background, "POLL_SECONDS", 0)
    monkeypatch.setattr(canary, "prove", lambda airflow: engine.asked.append("proof"))
    script = tmp_path / "rotate_fernet_key.py"
    script.write_text(SCRIPT.format(said=str(tmp_path / "said")))
    monkeypatch.setattr(secrets, "runtime_module", lambda name: ("python", str(script)))


@pytest.fixture
def said(tmp_path):
    """What the script was asked for, None where it was not asked."""
    path = tmp_path / "said"
    return lambda: json.loads(path.read_text()) if path.exists() else None


def held(clone):
    return Project(clone, {}).settings().values


@pytest.mark.parametrize("name", SECRETS)
def test_each_secret_gets_another_value_and_all_others_keep_theirs(project, lived_in, name):
    before = held(lived_in)
    secrets.rotate(project, [name])
    after = held(lived_in)
    assert {each for each in before if before[each] != after[each]} == {name}
    assert stat.S_IMODE((lived_in / ".env").stat().st_mode) == 0o600
    assert not (lived_in / ".env.rotating").exists()


def test_tasks_end_first_and_a_proof_ends_it(project, lived_in, engine):
    engine.asked.clear()
    secrets.rotate(project, ["AIRFLOW_JWT_SECRET"])
    assert engine.asked == ["finish_tasks", "up", "proof"]


def test_a_password_of_the_database_is_changed_in_it_before_env_has_it(
    project, lived_in, engine, said
):
    before = held(lived_in)
    secrets.rotate(project, ["POSTGRES_PASSWORD", "MLFLOW_DB_PASSWORD"])
    after = held(lived_in)
    assert engine.asked[-4:] == ["finish_tasks", "up postgres", "up", "proof"]
    assert said() == {
        "superuser": [before["POSTGRES_PASSWORD"], after["POSTGRES_PASSWORD"]],
        "roles": {
            "postgres": after["POSTGRES_PASSWORD"], "mlflow": after["MLFLOW_DB_PASSWORD"],
        },
        "keys": [],
    }  # fmt: skip


def test_under_a_new_fernet_key_all_is_encrypted_anew_while_airflow_stands(
    project, lived_in, engine, said, capsys
):
    former = held(lived_in)[KEY]
    # It is no service that could be stopped.
    engine.listed.append(Service("airflow-init", "exited"))
    secrets.rotate(project, [KEY])
    assert engine.asked[-5:] == [
        "finish_tasks", "stop airflow-scheduler airflow-worker", "up postgres", "up", "proof",
    ]  # fmt: skip
    assert said()["keys"] == [held(lived_in)[KEY], former]
    assert "7 secrets encrypted anew" in capsys.readouterr().out


def test_the_former_key_is_in_env_behind_the_new_one_while_that_goes_on(
    project, lived_in, engine, tmp_path
):
    former = held(lived_in)[KEY]
    (tmp_path / "rotate_fernet_key.py").write_text("import sys; sys.exit('no room left')")
    with pytest.raises(StackError, match="no room left"):
        secrets.rotate(project, [KEY])
    new = pending.new_secrets(Project(lived_in, {}).settings())[KEY]
    assert held(lived_in)[KEY] == f"{new},{former}"


def test_a_key_that_a_backup_needs_is_kept_where_no_service_gets_it(project, lived_in):
    former = held(lived_in)[KEY]
    backup_command.run(project)
    secrets.rotate(project, [KEY])
    after = held(lived_in)
    assert (after[FORMER_KEYS], former in after[KEY]) == (former, False)
    [made] = archive.all_of(lived_in / "backups")
    (made / archive.MANIFEST).unlink()
    secrets.rotate(project, [KEY])
    assert held(lived_in)[FORMER_KEYS] == ""


def test_the_first_account_gets_its_password_in_airflows_database(project, lived_in, monkeypatch):
    let_in = []
    monkeypatch.setattr(
        accounts, "let_first_account_in", lambda chosen, engine: let_in.append(chosen[ADMIN])
    )
    secrets.rotate(project, [ADMIN])
    secrets.rotate(project, ["REDIS_PASSWORD"])
    assert let_in == [held(lived_in)[ADMIN]]


def test_no_value_is_ever_told(project, lived_in, capsys):
    before = held(lived_in)
    secrets.rotate(project, ["all"])
    secrets.states(project)
    told = "".join(capsys.readouterr())
    after = held(lived_in)
    assert not [n for n in SECRETS if before[n] in told or after[n] in told]
    assert "inv backup" in told


# Ended in its middle


class Killed(BaseException):
    """What no code catches, as SIGKILL."""


def kill_at(step, engine, monkeypatch):
    def kill(*_, **__):
        raise Killed

    places = {
        "tasks end": (engine, "finish_tasks"),
        "the database": (secrets, "_ask"),
        "env": (secrets, "_write"),
        "start": (secrets, "start"),
        "the account": (accounts, "let_first_account_in"),
        "the end": (pending, "end_rotation"),
    }
    monkeypatch.setattr(*places[step], kill)


@pytest.mark.parametrize("again", ["up", "the same command"])
@pytest.mark.parametrize("step", ["the database", "env", "start", "the account", "the end"])
def test_killed_at_any_step_it_goes_on_with_the_values_it_had_made(
    project, lived_in, engine, monkeypatch, said, step, again
):
    before = held(lived_in)
    with monkeypatch.context() as patched:
        kill_at(step, engine, patched)
        with pytest.raises(Killed):
            secrets.rotate(project, ["all"])
    new = pending.new_secrets(Project(lived_in, {}).settings())
    assert stat.S_IMODE((lived_in / ".env.rotating").stat().st_mode) == 0o600
    assert {*new} == {*SECRETS}
    up.run(project) if again == "up" else secrets.rotate(project, ["all"])
    after = held(lived_in)
    assert {name: after[name] for name in SECRETS} == new
    assert not (lived_in / ".env.rotating").exists()
    # Whether the server had got the new one or not.
    assert {*said()["superuser"]} <= {before["POSTGRES_PASSWORD"], after["POSTGRES_PASSWORD"]}
    assert after["POSTGRES_PASSWORD"] in said()["superuser"]


def test_once_env_has_the_new_values_nothing_is_stopped_again(
    project, lived_in, engine, monkeypatch
):
    with monkeypatch.context() as patched:
        kill_at("start", engine, patched)
        with pytest.raises(Killed):
            secrets.rotate(project, ["all"])
    engine.asked.clear()
    up.run(project)
    assert engine.asked == ["up", "proof"]


def test_killed_while_tasks_end_nothing_has_happened(project, lived_in, engine, monkeypatch):
    before = held(lived_in)
    with monkeypatch.context() as patched:
        kill_at("tasks end", engine, patched)
        with pytest.raises(Killed):
            secrets.rotate(project, ["all"])
    up.run(project)
    assert held(lived_in) == before


def test_what_could_not_be_finished_is_told_with_the_way_on(project, lived_in, engine):
    engine.start_fails = StackError("no space left")
    with pytest.raises(StackError, match=r"no space left\n(.|\n)*Run inv up or this command again"):
        secrets.rotate(project, ["REDIS_PASSWORD"])
    with pytest.raises(StackError, match="A rotation of REDIS_PASSWORD was interrupted"):
        backup_command.run(project)


def test_a_proof_that_fails_says_that_the_values_are_in_place(project, lived_in, monkeypatch):
    def fail(airflow):
        raise StackError("the proof failed")

    monkeypatch.setattr(canary, "prove", fail)
    with pytest.raises(StackError, match=r"are in use, but .*\nthe proof failed\nRun: inv doctor"):
        secrets.rotate(project, ["REDIS_PASSWORD"])
    assert not (lived_in / ".env.rotating").exists()


# Refused


def test_what_is_no_secret_is_told_with_those_that_are(project, lived_in):
    with pytest.raises(StackError, match=r"^SMTP_PASSWORD cannot be rotated"):
        secrets.rotate(project, ["SMTP_PASSWORD", "REDIS_PASSWORD"])


@pytest.mark.parametrize("nothing", [True, False])
def test_a_stack_that_is_not_well_is_left_as_it_is(
    project, lived_in, engine, web, monkeypatch, nothing
):
    if nothing:
        engine.listed = []
    web.stack_is_well(mlflow="down")
    before = (lived_in / ".env").read_text()
    with pytest.raises(StackError, match=r"(Nothing is running|Unhealthy: .*)\.\nRun: inv up$"):
        secrets.rotate(project, ["REDIS_PASSWORD"])
    assert (lived_in / ".env").read_text() == before
    assert "finish_tasks" not in engine.asked


def test_one_that_can_be_guessed_is_changed_where_it_keeps_all_from_starting(
    project, lived_in, engine
):
    env = lived_in / ".env"
    weak = "changeme-changeme"  # pragma: allowlist secret
    env.write_text(env.read_text().replace(held(lived_in)["POSTGRES_PASSWORD"], weak))
    with pytest.raises(StackError, match="inv secrets --rotate POSTGRES_PASSWORD"):
        up.run(project)
    listed, engine.listed = engine.listed, []
    starts = engine.up

    def start(services=()):
        starts(services)
        engine.listed = listed

    engine.up = start
    secrets.rotate(project, ["POSTGRES_PASSWORD"])
    assert "finish_tasks" not in engine.asked
    assert held(lived_in)["POSTGRES_PASSWORD"] != weak


def test_one_that_the_shell_holds_above_env_is_refused(project, lived_in, monkeypatch):
    monkeypatch.setenv("REDIS_PASSWORD", SECRETS["REDIS_PASSWORD"]())
    with pytest.raises(StackError, match=r"which overrides \.env\.\nRun: unset REDIS_PASSWORD"):
        secrets.rotate(project, ["REDIS_PASSWORD"])


# Listed


def test_each_secret_is_told_with_what_it_is_for_and_whether_it_is_good(
    project, lived_in, monkeypatch
):
    env = lived_in / ".env"
    env.write_text(env.read_text().replace(held(lived_in)["REDIS_PASSWORD"], "foobared"))
    told = {name: (purpose, verdict) for name, purpose, verdict in secrets.states(project)}
    assert {*told} == {*SECRETS}
    assert all(purpose and not purpose.startswith("generated") for purpose, _ in told.values())
    assert told["REDIS_PASSWORD"][1] == "shorter than 16 characters"
    assert told["AIRFLOW_JWT_SECRET"] == ("signs the tokens between Airflow's services", "good")
