"""`inv drill` with a fake engine: the temporary stack, its removal and the report."""

import json
import re
import sys
from pathlib import Path

import pytest

from orchestration.backup import archive, drill
from orchestration.clients import postgres
from orchestration.commands import backup as backup_command
from orchestration.commands import drill as drill_command
from orchestration.errors import Problem, StackError
from orchestration.project import Project
from orchestration.settings.validation import PORTS
from tests.support.artifact_names import plant, tree

CHECKED = {"decrypted": 2, "predicted": ["flight-delay@champion"]}


@pytest.fixture
def sandbox(engine, tmp_path, monkeypatch):
    """The engine of the temporary stack: empty databases, and a check that prints CHECKED."""
    sandbox = type(engine)()
    sandbox.databases = str(tmp_path / "sandbox")
    Path(sandbox.databases).mkdir()
    for name in postgres.NAMES:
        Path(sandbox.databases, name).write_text("")
    (tmp_path / "restored").mkdir()
    variables = {"MLFLOW_ARTIFACTS_DESTINATION": str(tmp_path / "restored")}
    sandbox.command_environments["mlflow"] = variables
    engine.sandbox = sandbox
    set_check(monkeypatch, f"print('a warning'); print({json.dumps(CHECKED)!r})")
    return sandbox


def set_check(monkeypatch, code):
    monkeypatch.setattr(drill, "CHECK", (sys.executable, "-c", code))


@pytest.fixture
def backup(project, lived_in):
    backup_command.run(project)
    [folder] = archive.list_backups(lived_in / "backups")
    return folder


def report(backup):
    return json.loads((backup.parent / "report/report.json").read_text())


def test_drill_restores_into_sandbox_and_reports_checks(project, backup, sandbox, engine, capsys):
    before = sorted(Path(engine.databases).iterdir())
    drill_command.run(project)
    document = report(backup)
    assert document["verified"] is True
    assert "6 rows, 1 files, 2 secrets decrypted, flight-delay@champion" in document["detail"]
    assert document["detail"] in capsys.readouterr().out
    assert sorted(Path(engine.databases).iterdir()) == before
    assert "COPY" in Path(sandbox.databases, "airflow").read_text()


def test_drill_starts_no_scheduler_or_worker(project, backup, sandbox):
    drill_command.run(project)
    started = [call for call in sandbox.calls if call.startswith(("up", "replace"))]
    assert started == ["up postgres", "replace airflow-init", "replace mlflow-migrate", "up mlflow"]


def test_drill_uses_its_own_name_ports_and_folder_and_removes_them(
    project, backup, sandbox, engine, lived_in
):
    created = []
    engine.create_sandbox = lambda other: created.append(other) or sandbox
    drill_command.run(project)
    [other] = created
    settings = Project(lived_in, {}).settings()
    assert other.project == f"{settings.project}-drill"
    assert other.project_dir == other.root == lived_in / ".drill"
    assert not {other[n] for n in PORTS.values()} & {settings[n] for n in PORTS.values()}
    assert other["AIRFLOW_FERNET_KEY"] == settings["AIRFLOW_FERNET_KEY"]
    assert sandbox.calls[-1] == "down volumes=True"
    assert f"remove_sandbox {other.project}" in engine.calls
    assert not (lived_in / ".drill").exists()


def test_drill_restores_artifacts_of_any_name(project, lived_in, engine, sandbox, tmp_path):
    live = Path(engine.command_environments["mlflow"]["MLFLOW_ARTIFACTS_DESTINATION"])
    plant(live)
    backup_command.run(project)
    drill_command.run(project)
    assert tree(tmp_path / "restored") == tree(live)


def test_drill_never_uses_the_running_stacks_folder(
    project, backup, sandbox, engine, lived_in, monkeypatch
):
    """Without Docker, a folder of the machine is the same one in both stacks."""
    created = []
    engine.create_sandbox = lambda other: created.append(other) or sandbox
    monkeypatch.setenv("MLFLOW_ARTIFACTS_DESTINATION", "/on/this/machine")
    drill_command.run(project)
    assert created[0]["MLFLOW_ARTIFACTS_DESTINATION"] == "/mlflow_data"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import sys; sys.exit('InvalidToken: ')", "InvalidToken"),
        ("import sys; sys.exit('ValueError: no weights')", "no weights"),
    ],
)
def test_drill_with_failed_check_reports_it_and_cleans_up(
    project, backup, sandbox, monkeypatch, code, reason
):
    set_check(monkeypatch, code)
    with pytest.raises(StackError, match=reason):
        drill_command.run(project)
    assert report(backup)["verified"] is False
    assert re.fullmatch(f"drill failed: .*{reason}.*", report(backup)["detail"])
    assert not (backup.parent.parent / ".drill").exists()


def test_drill_reports_the_cause_of_a_problem_not_its_fix(project, backup, sandbox, monkeypatch):
    problem = Problem("engine-unreachable", "No Docker engine answers.", "Start it.", "engine")
    monkeypatch.setattr(sandbox, "problems", lambda: [problem])
    with pytest.raises(StackError, match="Start it"):
        drill_command.run(project)
    assert report(backup)["detail"] == "drill failed: No Docker engine answers."


def test_drill_of_damaged_backup_fails_before_the_start(project, backup, sandbox):
    (backup / "artifacts.tar").write_bytes(b"x")
    with pytest.raises(StackError, match=r"artifacts\.tar has 1 bytes"):
        drill_command.run(project)
    assert sandbox.calls == []
    day = f"{backup.name[:4]}-{backup.name[4:6]}-{backup.name[6:8]}"
    assert report(backup)["made_at"][:10] == day


def test_drill_without_backup_suggests_inv_backup(project, lived_in):
    with pytest.raises(StackError, match="inv backup"):
        drill_command.run(project)


def test_drill_without_images_suggests_inv_install(project, lived_in, engine):
    engine.built = False
    with pytest.raises(StackError, match="inv install"):
        drill_command.run(project)
