"""Test the lock files and their compilation."""

import os

import pytest

from orchestration.commands import lock as lock_command
from orchestration.dependencies import locks
from orchestration.dependencies.locks import LOCKS
from orchestration.errors import StackError
from orchestration.project import Project
from orchestration.settings.rules import AIRFLOW_VERSIONS


def test_lock_command_compiles_every_lock_with_hashes(recorded, repo, capsys):
    lock_command.run(Project(repo, os.environ))
    assert len(recorded.commands) == len(LOCKS)
    for lock, command in zip(LOCKS, recorded.commands, strict=True):
        assert command.argv[:3] == ("uv", "pip", "compile")
        assert "--generate-hashes" in command.argv
        assert command.argv[-2:] == ("--output-file", lock)
        assert command.cwd == repo / "install"
    assert capsys.readouterr().out.splitlines() == [f"install/{lock}" for lock in LOCKS]


def test_lock_command_unsatisfiable_requirement_stops(project, recorded):
    recorded.failures = {"mlflow.in": "no solution found"}
    with pytest.raises(StackError, match="no solution found"):
        lock_command.run(project)
    assert "status.in" not in " ".join(recorded.lines)


@pytest.mark.parametrize("lock", ["airflow/3.0.6/requirements.lock", "base/postgres.lock"])
@pytest.mark.parametrize("index", ["", "https://pypi.example/simple"])
def test_compile_lock_uses_source_and_own_index(recorded, make_settings, clone, lock, index):
    settings = make_settings(PYPI_INDEX_URL=index)
    locks.compile_lock(lock, settings)
    (command,) = recorded.commands
    assert command.argv == (
        *("uv", "pip", "compile", "--quiet", *LOCKS[lock], "--generate-hashes"),
        *("--custom-compile-command", "inv lock", "--output-file", lock),
    )
    assert command.cwd == clone / "install"
    uv_variables = {"UV_SYSTEM_CERTS": "1"} | ({"UV_DEFAULT_INDEX": index} if index else {})
    assert command.env == settings.environment | uv_variables


def test_locks_target_python_and_platform_of_their_use():
    for lock, (_, *options) in LOCKS.items():
        assert "3.11" in options, lock
        assert ("--universal" in options) != ("--python-platform" in options), lock


@pytest.mark.parametrize("lock", LOCKS)
def test_every_lock_file_and_source_exists_with_hashes(repo, lock):
    source = LOCKS[lock][0]
    if source == "--group":
        source = LOCKS[lock][1].partition(":")[0]
    assert (repo / "install" / source).is_file()
    text = (repo / "install" / lock).read_text(encoding="utf-8")
    pins = [line for line in text.splitlines() if line[:1] not in ("", " ", "#")]
    assert pins
    # With --universal a package may have several pins, each with a marker.
    assert all("==" in line and line.endswith("\\") for line in pins)
    assert text.count("--hash=sha256:") >= len(pins)


def test_no_other_lock_files_exist(repo):
    existing = {
        str(path.relative_to(repo / "install")) for path in (repo / "install").rglob("*.lock")
    }
    assert existing == set(LOCKS)


def test_locks_added_to_airflow_are_constrained_by_its_pins():
    assert "airflow/3.0.1/airflow.lock" in LOCKS["pytest.lock"]
    for version in AIRFLOW_VERSIONS:
        folder = f"airflow/{version}"
        for lock in (f"{folder}/requirements.lock", f"{folder}/stock.lock"):
            assert f"{folder}/airflow.lock" in LOCKS[lock]
            assert list(LOCKS).index(f"{folder}/airflow.lock") < list(LOCKS).index(lock)


@pytest.mark.parametrize("version", AIRFLOW_VERSIONS)
def test_stock_lock_is_constrained_by_requirements_lock(version):
    stock, yours = (f"airflow/{version}/{name}.lock" for name in ("stock", "requirements"))
    assert LOCKS[stock][0] == LOCKS[yours][0]
    assert yours in LOCKS[stock]
    assert list(LOCKS).index(yours) < list(LOCKS).index(stock)


@pytest.mark.parametrize("version", AIRFLOW_VERSIONS)
def test_airflow_lock_pins_the_version_of_its_folder(repo, version):
    lock = (repo / f"install/airflow/{version}/airflow.lock").read_text("utf-8")
    assert f"\napache-airflow=={version} " in lock
    released = f"--exclude-newer={locks.AIRFLOW_RELEASED[version]}T00:00:00Z"
    assert released in LOCKS[f"airflow/{version}/airflow.lock"]


def test_each_folder_of_locks_is_a_version_that_the_setting_accepts(repo):
    folders = [path.name for path in (repo / "install/airflow").iterdir()]
    assert sorted(folders) == sorted(AIRFLOW_VERSIONS)
