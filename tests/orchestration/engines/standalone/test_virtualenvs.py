"""Test when the standalone engine builds its environments, and with which commands."""

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
ALL = ["airflow", "mlflow", "status", "postgres"]


@pytest.fixture
def become(monkeypatch):
    """Return a function that fakes the current user and the existing system users."""

    def user(uid, *names):
        def getpwnam(name):
            if name not in names:
                raise KeyError(name)

        monkeypatch.setattr(virtualenvs.os, "getuid", lambda: uid)
        monkeypatch.setattr(virtualenvs, "pwd", SimpleNamespace(getpwnam=getpwnam))

    return user


@pytest.fixture
def state(clone, monkeypatch):
    """Return the state folder in the clone, also for root."""
    folder = State(clone / ".state")
    monkeypatch.setattr(State, "of", classmethod(lambda cls, settings: folder))
    return folder


@pytest.fixture
def disk(recorded, monkeypatch):
    """Make commands create folders as the real ones do; `interrupt` stops one like Ctrl-C."""
    disk = SimpleNamespace(interrupt="")

    def run(command, **options):
        line = str(command)
        completed = recorded.run(command, **options)
        _, into, rest = line.partition("--target=")
        if into or line.startswith("uv venv"):
            Path(rest.split()[0] if into else command.argv[-1]).mkdir(parents=True)
        if disk.interrupt and disk.interrupt in line:
            raise KeyboardInterrupt
        return completed

    monkeypatch.setattr(virtualenvs.runner, "run", run)
    return disk


@pytest.fixture
def environments(clone, state, become, make_settings, disk):
    """Return the environments of a clone with short locks; none is built, no command is run."""
    become(1234)
    for source in SOURCES:
        (clone / source).parent.mkdir(parents=True, exist_ok=True)
        (clone / source).write_text(f"{source} version 1\n", encoding="utf-8")
    return Environments(make_settings())


def build(environments):
    """Build and activate everything, as `inv install` does."""
    environments.build(NAMES)
    environments.activate(NAMES)


def ready_names(capsys):
    """Return the environments that `build` has reported as ready."""
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    return [words[3] for words in lines if words[2] == "✓"]


def test_build_in_a_new_clone_builds_everything(environments, capsys):
    assert not environments.is_built()
    assert {environments.in_use(name) for name in NAMES} == {""}
    build(environments)
    assert environments.is_built()
    assert ready_names(capsys) == ALL


def test_build_again_runs_no_command(environments, recorded, capsys):
    build(environments)
    ready_names(capsys)
    recorded.commands.clear()
    build(environments)
    assert recorded.lines == []
    assert ready_names(capsys) == []


def test_build_builds_only_the_given_names(environments, capsys):
    environments.build(["mlflow"])
    assert ready_names(capsys) == ["mlflow"]


def test_build_shows_progress(environments, capsys):
    environments.build(["mlflow", "status"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[2:] for line in lines] == [
        ["…", "mlflow", "environment", "installing"],
        ["…", "status", "environment", "waiting"],
        ["✓", "mlflow", "environment", "ready"],
        ["✓", "status", "environment", "ready"],
    ]


@pytest.mark.parametrize(("source", "name"), SOURCES.items())
def test_build_after_a_change_rebuilds_only_what_depends_on_it(
    environments, clone, capsys, source, name
):
    build(environments)
    ready_names(capsys)
    (clone / source).write_text("version 2\n", encoding="utf-8")
    assert not environments.is_built()
    build(environments)
    assert ready_names(capsys) == [name]
    assert environments.is_built()


def test_every_source_is_in_the_repository():
    assert len(SOURCES) == 7
    assert all((ROOT / source).is_file() for source in SOURCES)


@pytest.mark.parametrize("source", SOURCES)
def test_in_use_changes_with_the_sources(environments, clone, source):
    build(environments)
    before = {name: environments.in_use(name) for name in NAMES}
    build(environments)
    assert {name: environments.in_use(name) for name in NAMES} == before
    (clone / source).write_text("version 2\n", encoding="utf-8")
    build(environments)
    assert [name for name in NAMES if environments.in_use(name) != before[name]] == [
        SOURCES[source]
    ]


def test_build_after_a_failure_continues(environments, recorded, capsys):
    recorded.failures = {"mlflow.lock": "no index answers"}
    with pytest.raises(StackError, match="no index answers"):
        build(environments)
    assert not environments.is_built()
    recorded.failures.clear()
    ready_names(capsys)
    build(environments)
    assert ready_names(capsys) == ["mlflow", "status", "postgres"]
    assert environments.is_built()


def test_build_without_python_reports_the_problem(environments, recorded):
    recorded.failures = {"uv venv": "no download", "python find": "none"}
    with pytest.raises(StackError) as raised:
        environments.build(["mlflow"])
    assert str(raised.value) == f"{python_version.MISSING}\nno download"


def test_build_with_python_reports_the_error_of_uv(environments, recorded):
    recorded.failures = {"uv venv": "no space left"}
    with pytest.raises(StackError, match=r"^no space left$"):
        environments.build(["mlflow"])


@pytest.mark.parametrize("name", LOCKS)
def test_build_creates_a_venv_and_installs_its_locks(environments, clone, recorded, name):
    environments.build([name])
    folder = f"{environments.candidate(name)}.begun"
    venv, sync = recorded.lines
    assert venv == f"uv venv --quiet --clear --relocatable --python=3.11 {folder}"
    words = sync.split()
    assert words[:3] == ["uv", "pip", "sync"]
    assert {"--require-hashes", f"--python={folder}"} <= set(words)
    assert words[-len(LOCKS[name]) :] == [f"{clone}/install/{lock}" for lock in LOCKS[name]]


# Folders and links


def test_in_use_changes_only_when_activated(environments, clone):
    build(environments)
    before = environments.in_use("mlflow")
    (clone / "install" / "mlflow.lock").write_text("version 2\n", encoding="utf-8")
    environments.build(NAMES)
    assert environments.in_use("mlflow") == before
    environments.activate(["airflow"])
    assert environments.in_use("mlflow") == before
    environments.activate(["mlflow"])
    assert environments.in_use("mlflow") == environments.candidate("mlflow").name != before


@pytest.mark.parametrize("interrupt", ["uv venv", "uv pip sync"])
def test_build_after_an_interrupt_starts_again(environments, clone, disk, interrupt, capsys):
    build(environments)
    (clone / "install" / "mlflow.lock").write_text("version 2\n", encoding="utf-8")
    disk.interrupt = interrupt
    with pytest.raises(KeyboardInterrupt):
        environments.build(NAMES)
    disk.interrupt = ""
    (partial,) = environments.candidate("mlflow").parent.glob("*.begun")
    (partial / "file").touch()
    ready_names(capsys)
    build(environments)
    assert ready_names(capsys) == ["mlflow"]
    assert not partial.exists()
    assert not (environments.candidate("mlflow") / "file").exists()


def test_build_replaces_an_incomplete_folder(environments):
    (environments.candidate("status") / "bin").mkdir(parents=True)
    build(environments)
    assert not (environments.candidate("status") / "bin").exists()
    assert environments.is_built()


def test_activate_replaces_the_link_in_one_step(environments, state, clone, monkeypatch):
    build(environments)
    link, replacements = state.folder / "envs" / "mlflow", []
    before = os.readlink(link)
    (link.parent / "mlflow.new").symlink_to("leftover of an interrupted activation")
    (clone / "install" / "mlflow.lock").write_text("version 2\n", encoding="utf-8")
    environments.build(["mlflow"])
    replace = Path.replace

    def record(new, target):
        replacements.append((os.readlink(new), target, os.readlink(target)))
        replace(new, target)

    monkeypatch.setattr(Path, "replace", record)
    environments.activate(["mlflow"])
    assert replacements == [(str(environments.candidate("mlflow")), link, before)]
    assert os.readlink(link) == str(environments.candidate("mlflow"))


def test_activate_replaces_a_folder_of_an_older_layout(environments, state):
    (state.folder / "pg" / "old").mkdir(parents=True)
    (state.folder / "envs/airflow/bin").mkdir(parents=True)
    assert environments.in_use("airflow") == ""
    build(environments)
    assert os.readlink(state.folder / "pg") == str(environments.candidate("postgres"))
    assert os.readlink(state.folder / "envs/airflow") == str(environments.candidate("airflow"))
    assert environments.is_built()


def test_prune_keeps_only_folders_that_are_in_use_or_running(environments, state, clone):
    build(environments)
    running = environments.in_use("airflow")
    for version in (2, 3):
        for source in SOURCES:
            (clone / source).write_text(f"version {version}\n", encoding="utf-8")
        build(environments)
    (state.folder / "envs" / "mlflow-123456789abc.begun").mkdir()
    environments.prune([running, ""])
    remaining = {path.name for path in (state.folder / "envs").iterdir()}
    assert remaining == {*LOCKS, running, *map(environments.in_use, NAMES)}
    assert environments.is_built()
    assert (state.folder / "pg/entrypoint.sh").exists()


def test_prune_before_the_first_build_does_nothing(environments):
    environments.prune([])


def test_airflow_environment_includes_the_project_requirements():
    assert "requirements.lock" in LOCKS["airflow"]


def test_build_installs_only_the_wheel_of_postgres(environments, clone, recorded):
    # It must not need Airflow's environment, as `inv rebuild` may build the others alone.
    environments.build(["postgres"])
    (line,) = recorded.lines
    words = line.split()
    assert words[:3] == ["uv", "pip", "install"]
    assert {
        "--no-deps",
        "--require-hashes",
        f"--target={environments.candidate('postgres')}.begun",
        "--python=3.11",
        f"--requirements={clone}/install/base/postgres.lock",
    } <= set(words)


def test_build_copies_the_scripts_of_postgres(environments, state, clone):
    build(environments)
    assert (state.folder / "pg/entrypoint.sh").read_text() == (
        "install/base/postgres-entrypoint.sh version 1\n"
    )
    assert (state.folder / "pg/init/roles.sh").read_text() == (
        "orchestration/config/postgres/roles.sh version 1\n"
    )
    (clone / "orchestration/config/postgres/roles.sh").write_text("version 2\n")
    build(environments)
    assert (state.folder / "pg/init/roles.sh").read_text() == "version 2\n"


def test_build_leaves_nothing_of_an_older_postgres(environments, state, clone):
    build(environments)
    (state.folder / "pg" / "old.so").touch()
    (clone / "install/base/postgres.lock").write_text("version 2\n", encoding="utf-8")
    build(environments)
    assert not (state.folder / "pg" / "old.so").exists()
    assert (state.folder / "pg/entrypoint.sh").exists()


def test_build_and_prune_keep_the_data(environments, state, clone):
    build(environments)
    data = state.folder / "postgres" / "PG_VERSION"
    data.parent.mkdir()
    data.write_text("16\n")
    for source in SOURCES:
        (clone / source).write_text("version 2\n", encoding="utf-8")
    build(environments)
    environments.prune([])
    assert data.read_text() == "16\n"


def test_state_folder_can_be_passed_but_not_listed_by_others(environments, state):
    build(environments)
    assert state.folder.stat().st_mode & 0o777 == 0o711


@pytest.mark.parametrize("index", ["", "https://pypi.example/simple"])
def test_build_uses_the_configured_package_index(environments, make_settings, recorded, index):
    build(Environments(make_settings(PYPI_INDEX_URL=index)))
    installs = [c for c in recorded.commands if c.argv[:2] == ("uv", "pip")]
    assert len(installs) == 4
    for command in installs:
        # It is in no argument, because it may contain a password.
        assert "pypi.example" not in str(command)
        assert command.env.get("UV_DEFAULT_INDEX", "") == index


def test_build_runs_uv_with_system_certificates_and_without_settings(environments, recorded):
    build(environments)
    assert len(recorded.commands) == 7
    for command in recorded.commands:
        assert command.env == {**environments.settings.environment, "UV_SYSTEM_CERTS": "1"}


# PostgreSQL's user


def useradd_lines(recorded):
    return [line for line in recorded.lines if line.startswith("useradd")]


def test_build_as_root_creates_a_system_user(environments, recorded, become):
    become(0)
    build(environments)
    [line] = useradd_lines(recorded)
    assert line.split()[-1] == POSTGRES_SYSTEM_USER
    assert {"--system", "--no-create-home", "--shell=/usr/sbin/nologin"} <= set(line.split())


def test_build_as_root_with_a_strict_umask_lets_postgres_in(environments, become, state):
    before = os.umask(0o077)
    try:
        become(0)
        build(environments)
    finally:
        os.umask(before)
    folder = environments.candidate("postgres")
    passed = (state.folder.parent, state.folder, state.folder / "envs")
    assert [path.stat().st_mode & 0o001 for path in passed] == [1, 1, 1]
    paths = [folder, *(folder / file for file in POSTGRES_FILES), folder / "init"]
    assert [path.stat().st_mode & 0o004 for path in paths] == [4] * len(paths)


def test_build_as_root_keeps_an_existing_system_user(environments, recorded, become):
    become(0, POSTGRES_SYSTEM_USER)
    build(environments)
    assert useradd_lines(recorded) == []


def test_build_as_normal_user_creates_no_user(environments, recorded):
    build(environments)
    assert useradd_lines(recorded) == []


def test_postgres_path_is_in_the_wheel_of_the_lock():
    lock = (ROOT / "install/base/postgres.lock").read_text(encoding="utf-8")
    target, package, *_ = Path(PG_BIN).parts
    assert target == "pg"
    assert f"{package.replace('_', '-')}==" in lock
