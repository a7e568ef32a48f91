"""The lock files: each has its source, hashes, and one way to be made."""

import os

import pytest

from orchestration.commands import lock as lock_command
from orchestration.dependencies import locks
from orchestration.dependencies.locks import LOCKS
from orchestration.errors import StackError
from orchestration.project import Project


def test_every_lock_is_compiled_with_hashes_in_the_folder_of_its_source(recorded, repo, capsys):
    lock_command.run(Project(repo, os.environ))
    assert len(recorded.commands) == len(LOCKS)
    for lock, command in zip(LOCKS, recorded.commands, strict=True):
        assert command.argv[:3] == ("uv", "pip", "compile")
        assert "--generate-hashes" in command.argv
        assert command.argv[-2:] == ("--output-file", lock)
        assert command.cwd == repo / "install"
    assert capsys.readouterr().out.splitlines() == [f"install/{lock}" for lock in LOCKS]


def test_a_requirement_that_cannot_be_met_ends_it(project, recorded):
    recorded.failures = {"mlflow.in": "no solution found"}
    with pytest.raises(StackError, match="no solution found"):
        lock_command.run(project)
    assert "status.in" not in " ".join(recorded.lines)


@pytest.mark.parametrize("lock", ["requirements.lock", "base/postgres.lock"])
@pytest.mark.parametrize("index", ["", "https://pypi.example/simple"])
def test_one_lock_is_compiled_from_its_source_and_the_index_of_ones_own(
    recorded, make_settings, clone, lock, index
):
    settings = make_settings(PYPI_INDEX_URL=index)
    locks.compile_one(lock, settings)
    (command,) = recorded.commands
    assert command.argv == (
        *("uv", "pip", "compile", "--quiet", *LOCKS[lock], "--generate-hashes"),
        *("--custom-compile-command", "inv lock", "--output-file", lock),
    )
    assert command.cwd == clone / "install"
    told = {"UV_SYSTEM_CERTS": "1"} | ({"UV_DEFAULT_INDEX": index} if index else {})
    assert command.env == settings.environment | told


def test_one_lock_is_made_for_the_machine_that_it_is_installed_on():
    for lock, (_, *words) in LOCKS.items():
        assert "3.11" in words, lock
        assert ("--universal" in words) != ("--python-platform" in words), lock


@pytest.mark.parametrize("lock", LOCKS)
def test_every_lock_and_its_source_are_there(repo, lock):
    source = LOCKS[lock][0]
    if source == "--group":
        source = LOCKS[lock][1].partition(":")[0]
    assert (repo / "install" / source).is_file()
    text = (repo / "install" / lock).read_text(encoding="utf-8")
    pins = [line for line in text.splitlines() if line[:1] not in ("", " ", "#")]
    assert pins
    # With --universal a pin may have several forks, each with a marker.
    assert all("==" in line and line.endswith("\\") for line in pins)
    assert text.count("--hash=sha256:") >= len(pins)


def test_no_lock_is_unknown(repo):
    there = {str(path.relative_to(repo / "install")) for path in (repo / "install").rglob("*.lock")}
    assert there == set(LOCKS)


def test_what_is_added_to_airflow_stays_within_what_airflow_pins():
    for lock in ("requirements.lock", "stock.lock", "pytest.lock"):
        assert "airflow.lock" in LOCKS[lock]
        assert list(LOCKS).index("airflow.lock") < list(LOCKS).index(lock)


def test_the_layer_that_stays_is_made_of_what_the_requirements_came_to():
    assert LOCKS["stock.lock"][0] == LOCKS["requirements.lock"][0]
    assert "requirements.lock" in LOCKS["stock.lock"]
    assert list(LOCKS).index("requirements.lock") < list(LOCKS).index("stock.lock")
