"""Test the lock files and their compilation."""

import os

import pytest

from orchestration.commands import lock as lock_command
from orchestration.dependencies import locks
from orchestration.dependencies.locks import LOCKS
from orchestration.errors import StackError
from orchestration.project import Project


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


@pytest.mark.parametrize("lock", ["requirements.lock", "base/postgres.lock"])
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
    for lock in ("requirements.lock", "stock.lock", "pytest.lock"):
        assert "airflow.lock" in LOCKS[lock]
        assert list(LOCKS).index("airflow.lock") < list(LOCKS).index(lock)


def test_stock_lock_is_constrained_by_requirements_lock():
    assert LOCKS["stock.lock"][0] == LOCKS["requirements.lock"][0]
    assert "requirements.lock" in LOCKS["stock.lock"]
    assert list(LOCKS).index("requirements.lock") < list(LOCKS).index("stock.lock")
