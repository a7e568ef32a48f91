"""A drill on paper: where it restores to, what it leaves, and what it tells of a bad backup."""

import json
import re
import sys
from pathlib import Path

import pytest

from orchestration.backup import archive, drill
from orchestration.clients import postgres
from orchestration.commands import backup as backup_command
from orchestration.commands import drill as drill_command
from orchestration.errors import StackError
from orchestration.project import Project
from orchestration.settings.validation import PORTS

FOUND = {"decrypted": 2, "predicted": ["flight-delay@champion"]}


@pytest.fixture
def beside(engine, tmp_path, monkeypatch):
    """The engine of the other project: an empty server, and a look that says FOUND."""
    other = type(engine)()
    other.databases = str(tmp_path / "beside")
    Path(other.databases).mkdir()
    for name in postgres.NAMES:
        Path(other.databases, name).write_text("")
    (tmp_path / "restored").mkdir()
    other.environments["mlflow"] = {"MLFLOW_ARTIFACTS_DESTINATION": str(tmp_path / "restored")}
    engine.lent = other
    says(monkeypatch, f"print('a warning'); print({json.dumps(FOUND)!r})")
    return other


def says(monkeypatch, code):
    monkeypatch.setattr(drill, "LOOK", (sys.executable, "-c", code))


@pytest.fixture
def made(project, lived_in):
    backup_command.run(project)
    [folder] = archive.all_of(lived_in / "backups")
    return folder


def report(folder):
    return json.loads((folder.parent / "report/report.json").read_text())


def test_it_restores_beside_and_tells_what_it_found(project, made, beside, engine, capsys):
    before = sorted(Path(engine.databases).iterdir())
    drill_command.run(project)
    told = report(made)
    assert told["verified"] is True
    assert "6 rows, 1 files, 2 secrets opened, flight-delay@champion" in told["detail"]
    assert told["detail"] in capsys.readouterr().out
    assert sorted(Path(engine.databases).iterdir()) == before
    assert "COPY" in Path(beside.databases, "airflow").read_text()


def test_nothing_that_starts_runs_or_sends_alerts_is_started(project, made, beside):
    drill_command.run(project)
    started = [asked for asked in beside.asked if asked.startswith(("up", "replace"))]
    assert started == ["up postgres", "replace airflow-init", "replace mlflow-migrate", "up mlflow"]


def test_it_has_a_name_ports_and_a_folder_of_its_own_and_they_go(
    project, made, beside, engine, lived_in
):
    lent = []
    engine.create_sandbox = lambda other: lent.append(other) or beside
    drill_command.run(project)
    [other] = lent
    chosen = Project(lived_in, {}).settings()
    assert other.project == f"{chosen.project}-drill"
    assert other.project_dir == other.root == lived_in / ".drill"
    assert not {other[n] for n in PORTS.values()} & {chosen[n] for n in PORTS.values()}
    assert other["AIRFLOW_FERNET_KEY"] == chosen["AIRFLOW_FERNET_KEY"]
    assert beside.asked[-1] == "down volumes=True"
    assert f"remove_sandbox {other.project}" in engine.asked
    assert not (lived_in / ".drill").exists()


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import sys; sys.exit('InvalidToken: ')", "InvalidToken"),
        ("import sys; sys.exit('ValueError: no weights')", "no weights"),
    ],
)
def test_what_cannot_be_used_fails_it_and_all_is_removed(
    project, made, beside, engine, monkeypatch, code, why
):
    says(monkeypatch, code)
    with pytest.raises(StackError, match=why):
        drill_command.run(project)
    assert report(made)["verified"] is False
    assert re.fullmatch(f"drill failed: .*{why}.*", report(made)["detail"])
    assert not (made.parent.parent / ".drill").exists()


def test_a_damaged_backup_fails_before_anything_is_started(project, made, beside):
    (made / "artifacts.tar").write_bytes(b"x")
    with pytest.raises(StackError, match="it was cut"):
        drill_command.run(project)
    assert beside.asked == []
    assert report(made)["made_at"][:10] == f"{made.name[:4]}-{made.name[4:6]}-{made.name[6:8]}"


def test_without_a_backup_the_next_command_is_told(project, lived_in):
    with pytest.raises(StackError, match="inv backup"):
        drill_command.run(project)


def test_without_images_too(project, lived_in, engine):
    engine.built = False
    with pytest.raises(StackError, match="inv install"):
        drill_command.run(project)
