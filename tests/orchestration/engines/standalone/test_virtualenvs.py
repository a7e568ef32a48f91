"""The standalone engine's environments: what is made anew, when, and by which commands."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from orchestration.dependencies import python as python_version
from orchestration.engines.standalone import virtualenvs
from orchestration.engines.standalone.environment import PG_BIN, POSTGRES_SYSTEM_USER, State
from orchestration.engines.standalone.virtualenvs import LOCKS, NAMES, POSTGRES_FILES, Environments
from orchestration.errors import StackError
from tests.support.repository import ROOT

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

        monkeypatch.setattr(virtualenvs.os, "getuid", lambda: uid)
        monkeypatch.setattr(virtualenvs, "pwd", SimpleNamespace(getpwnam=getpwnam))

    return user


@pytest.fixture
def state(clone, monkeypatch):
    """The state folder in the clone, also for root."""
    folder = State(clone / ".state")
    monkeypatch.setattr(State, "of", classmethod(lambda cls, settings: folder))
    return folder


@pytest.fixture
def disk(recorded, monkeypatch):
    """Commands do to folders what the real ones do; `cut` ends one halfway, as Ctrl-C would."""
    disk = SimpleNamespace(cut="")

    def act(command, **options):
        line = str(command)
        said = recorded.run(command, **options)
        _, into, rest = line.partition("--target=")
        if into or line.startswith("uv venv"):
            Path(rest.split()[0] if into else command.argv[-1]).mkdir(parents=True)
        if disk.cut and disk.cut in line:
            raise KeyboardInterrupt
        return said

    monkeypatch.setattr(virtualenvs.runner, "run", act)
    return disk


@pytest.fixture
def made(clone, state, become, make_settings, disk):
    """Environments of a clone with short locks, none built yet; nothing is really run."""
    become(1234)
    for source in SOURCES:
        (clone / source).parent.mkdir(parents=True, exist_ok=True)
        (clone / source).write_text(f"{source} of today\n", encoding="utf-8")
    return Environments(make_settings())


def build(made):
    """What `inv install` does."""
    made.build(NAMES)
    made.activate(NAMES)


def announced(capsys):
    """The environments that `build` said are ready now."""
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    return [words[3] for words in lines if words[2] == "✓"]


def test_in_a_fresh_clone_everything_is_made(made, capsys):
    assert not made.is_built()
    assert {made.in_use(name) for name in NAMES} == {""}
    build(made)
    assert made.is_built()
    assert announced(capsys) == MADE


def test_what_is_up_to_date_is_left_alone(made, recorded, capsys):
    build(made)
    announced(capsys)
    recorded.commands.clear()
    build(made)
    assert recorded.lines == []
    assert announced(capsys) == []


def test_only_what_is_asked_for_is_made(made, capsys):
    made.build(["mlflow"])
    assert announced(capsys) == ["mlflow"]


def test_a_row_tells_what_is_at_work_and_what_waits(made, capsys):
    made.build(["mlflow", "status"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[2:] for line in lines] == [
        ["…", "mlflow", "environment", "installing"],
        ["…", "status", "environment", "waits"],
        ["✓", "mlflow", "environment", "ready"],
        ["✓", "status", "environment", "ready"],
    ]


@pytest.mark.parametrize(("source", "name"), SOURCES.items())
def test_a_change_makes_the_environment_anew_that_is_made_of_it(made, clone, capsys, source, name):
    build(made)
    announced(capsys)
    (clone / source).write_text("of tomorrow\n", encoding="utf-8")
    assert not made.is_built()
    build(made)
    assert announced(capsys) == [name]
    assert made.is_built()


def test_every_file_they_are_made_of_is_in_the_repository():
    assert len(SOURCES) == 7
    assert all((ROOT / source).is_file() for source in SOURCES)


@pytest.mark.parametrize("source", SOURCES)
def test_the_name_of_what_is_in_use_tells_what_it_was_made_from(made, clone, source):
    build(made)
    before = {name: made.in_use(name) for name in NAMES}
    build(made)
    assert {name: made.in_use(name) for name in NAMES} == before
    (clone / source).write_text("of tomorrow\n", encoding="utf-8")
    build(made)
    assert [name for name in NAMES if made.in_use(name) != before[name]] == [SOURCES[source]]


def test_one_that_failed_is_made_again_and_what_was_made_stays(made, recorded, capsys):
    recorded.failures = {"mlflow.lock": "no index answers"}
    with pytest.raises(StackError, match="no index answers"):
        build(made)
    assert not made.is_built()
    recorded.failures.clear()
    announced(capsys)
    build(made)
    assert announced(capsys) == ["mlflow", "status", "postgres"]
    assert made.is_built()


def test_where_uv_finds_no_python_the_next_command_is_told(made, recorded):
    recorded.failures = {"uv venv": "no download", "python find": "none"}
    with pytest.raises(StackError) as failed:
        made.build(["mlflow"])
    assert str(failed.value) == f"{python_version.MISSING}\nno download"


def test_where_the_python_is_not_what_is_missing_uvs_words_stay(made, recorded):
    recorded.failures = {"uv venv": "no space left"}
    with pytest.raises(StackError, match=r"^no space left$"):
        made.build(["mlflow"])


@pytest.mark.parametrize("name", LOCKS)
def test_an_environment_is_emptied_and_filled_from_its_locks(made, clone, recorded, name):
    made.build([name])
    folder = f"{made.candidate(name)}.begun"
    venv, sync = recorded.lines
    assert venv == f"uv venv --quiet --clear --relocatable --python=3.11 {folder}"
    words = sync.split()
    assert words[:3] == ["uv", "pip", "sync"]
    assert {"--require-hashes", f"--python={folder}"} <= set(words)
    assert words[-len(LOCKS[name]) :] == [f"{clone}/install/{lock}" for lock in LOCKS[name]]


# Beside what is in use


def test_what_is_in_use_stays_as_it_is_until_another_is_adopted(made, clone):
    build(made)
    before = made.in_use("mlflow")
    (clone / "install" / "mlflow.lock").write_text("of tomorrow\n", encoding="utf-8")
    made.build(NAMES)
    assert made.in_use("mlflow") == before
    made.activate(["airflow"])
    assert made.in_use("mlflow") == before
    made.activate(["mlflow"])
    assert made.in_use("mlflow") == made.candidate("mlflow").name != before


@pytest.mark.parametrize("cut", ["uv venv", "uv pip sync"])
def test_an_interrupted_build_is_made_anew(made, clone, disk, cut, capsys):
    build(made)
    (clone / "install" / "mlflow.lock").write_text("of tomorrow\n", encoding="utf-8")
    disk.cut = cut
    with pytest.raises(KeyboardInterrupt):
        made.build(NAMES)
    disk.cut = ""
    (half,) = made.candidate("mlflow").parent.glob("*.begun")
    (half / "half").touch()
    announced(capsys)
    build(made)
    assert announced(capsys) == ["mlflow"]
    assert not half.exists()
    assert not (made.candidate("mlflow") / "half").exists()


def test_a_folder_that_was_not_completed_is_made_anew(made):
    (made.candidate("status") / "bin").mkdir(parents=True)
    build(made)
    assert not (made.candidate("status") / "bin").exists()
    assert made.is_built()


def test_a_link_changes_in_one_step(made, state, clone, monkeypatch):
    build(made)
    link, replaced = state.folder / "envs" / "mlflow", []
    before = os.readlink(link)
    (link.parent / "mlflow.new").symlink_to("left by an interrupted one")
    (clone / "install" / "mlflow.lock").write_text("of tomorrow\n", encoding="utf-8")
    made.build(["mlflow"])
    replace = Path.replace

    def watched(beside, target):
        replaced.append((os.readlink(beside), target, os.readlink(target)))
        replace(beside, target)

    monkeypatch.setattr(Path, "replace", watched)
    made.activate(["mlflow"])
    assert replaced == [(str(made.candidate("mlflow")), link, before)]
    assert os.readlink(link) == str(made.candidate("mlflow"))


def test_a_folder_of_an_older_layout_gives_way_to_the_link(made, state):
    (state.folder / "pg" / "old").mkdir(parents=True)
    (state.folder / "envs/airflow/bin").mkdir(parents=True)
    assert made.in_use("airflow") == ""
    build(made)
    assert os.readlink(state.folder / "pg") == str(made.candidate("postgres"))
    assert os.readlink(state.folder / "envs/airflow") == str(made.candidate("airflow"))
    assert made.is_built()


def test_what_is_in_use_and_what_runs_is_kept_and_nothing_else(made, state, clone):
    build(made)
    runs = made.in_use("airflow")
    for day in ("tomorrow", "the day after"):
        for source in SOURCES:
            (clone / source).write_text(f"of {day}\n", encoding="utf-8")
        build(made)
    (state.folder / "envs" / "mlflow-123456789abc.begun").mkdir()
    made.prune([runs, ""])
    left = {path.name for path in (state.folder / "envs").iterdir()}
    assert left == {*LOCKS, runs, *map(made.in_use, NAMES)}
    assert made.is_built()
    assert (state.folder / "pg/entrypoint.sh").exists()


def test_before_anything_was_built_there_is_nothing_to_tidy(made):
    made.prune([])


def test_airflows_environment_has_the_projects_own_packages():
    assert "requirements.lock" in LOCKS["airflow"]


def test_postgres_is_taken_from_its_wheel_alone(made, clone, recorded):
    # Without Airflow's environment: the rest may be rebuilt on its own.
    made.build(["postgres"])
    (line,) = recorded.lines
    words = line.split()
    assert words[:3] == ["uv", "pip", "install"]
    assert {
        "--no-deps",
        "--require-hashes",
        f"--target={made.candidate('postgres')}.begun",
        "--python=3.11",
        f"--requirements={clone}/install/base/postgres.lock",
    } <= set(words)


def test_postgres_gets_its_entrypoint_and_its_first_script(made, state, clone):
    build(made)
    assert (state.folder / "pg/entrypoint.sh").read_text() == (
        "install/base/postgres-entrypoint.sh of today\n"
    )
    assert (state.folder / "pg/init/roles.sh").read_text() == (
        "orchestration/config/postgres/roles.sh of today\n"
    )
    (clone / "orchestration/config/postgres/roles.sh").write_text("of tomorrow\n")
    build(made)
    assert (state.folder / "pg/init/roles.sh").read_text() == "of tomorrow\n"


def test_nothing_of_an_older_postgres_is_left(made, state, clone):
    build(made)
    (state.folder / "pg" / "old.so").touch()
    (clone / "install/base/postgres.lock").write_text("of tomorrow\n", encoding="utf-8")
    build(made)
    assert not (state.folder / "pg" / "old.so").exists()
    assert (state.folder / "pg/entrypoint.sh").exists()


def test_data_is_not_touched(made, state, clone):
    build(made)
    kept = state.folder / "postgres" / "PG_VERSION"
    kept.parent.mkdir()
    kept.write_text("16\n")
    for source in SOURCES:
        (clone / source).write_text("of tomorrow\n", encoding="utf-8")
    build(made)
    made.prune([])
    assert kept.read_text() == "16\n"


def test_others_may_pass_through_the_folder_and_not_look_around(made, state):
    build(made)
    assert state.folder.stat().st_mode & 0o777 == 0o711


@pytest.mark.parametrize("index", ["", "https://pypi.example/simple"])
def test_an_index_of_ones_own_is_used_for_every_installation(made, make_settings, recorded, index):
    build(Environments(make_settings(PYPI_INDEX_URL=index)))
    installs = [c for c in recorded.commands if c.argv[:2] == ("uv", "pip")]
    assert len(installs) == 4
    for command in installs:
        # In no argument: it may hold a password.
        assert "pypi.example" not in str(command)
        assert command.env.get("UV_DEFAULT_INDEX", "") == index


def test_uv_trusts_the_machines_certificates_and_sees_no_setting(made, recorded):
    build(made)
    assert len(recorded.commands) == 7
    for command in recorded.commands:
        assert command.env == {**made.settings.environment, "UV_SYSTEM_CERTS": "1"}


# PostgreSQL's user


def users_made(recorded):
    return [line for line in recorded.lines if line.startswith("useradd")]


def test_for_root_postgres_gets_a_system_user(made, recorded, become):
    become(0)
    build(made)
    [line] = users_made(recorded)
    assert line.split()[-1] == POSTGRES_SYSTEM_USER
    assert {"--system", "--no-create-home", "--shell=/usr/sbin/nologin"} <= set(line.split())


def test_a_system_user_that_exists_is_taken(made, recorded, become):
    become(0, POSTGRES_SYSTEM_USER)
    build(made)
    assert users_made(recorded) == []


def test_a_normal_user_makes_no_user(made, recorded):
    build(made)
    assert users_made(recorded) == []


def test_the_path_to_postgres_leads_into_the_wheel_of_the_lock():
    lock = (ROOT / "install/base/postgres.lock").read_text(encoding="utf-8")
    target, package, *_ = Path(PG_BIN).parts
    assert target == "pg"
    assert f"{package.replace('_', '-')}==" in lock
