"""Test the systemd units: their values for a clone, their syntax and their installation."""

import os
import pwd
import re
import shutil
import subprocess
from dataclasses import replace

import pytest

from orchestration.commands import systemd as systemd_command
from orchestration.errors import StackError
from orchestration.host import systemd

STACK, BACKUP, TIMER = "mlops-stack-{}.service", "mlops-backup-{}.service", "mlops-backup-{}.timer"
OLD = ("mlops-docker-compose.service", "mlops-backup.service", "mlops-backup.timer")


@pytest.fixture
def here(repo, tmp_path, make_settings):
    """Return the settings of a clone in a folder whose name contains %, which systemd expands."""
    root = tmp_path / "50% of it"
    (root / "orchestration/systemd").mkdir(parents=True)
    for name in systemd.TEMPLATES:
        shutil.copy2(repo / "orchestration/systemd" / name, root / "orchestration/systemd")
    return replace(make_settings(COMPOSE_PROJECT_NAME="mine-a1b2c3"), root=root)


@pytest.fixture
def installed(tmp_path, recorded, monkeypatch):
    """Return a folder for units; this user counts as root, and no command is run."""
    monkeypatch.setattr(os, "getuid", lambda: 0)
    monkeypatch.setattr(systemd.runner, "run", recorded.run)
    folder = tmp_path / "system"
    folder.mkdir()
    return folder


def lines(text):
    return [line for line in text.splitlines() if line and line[0] != "#"]


def names(settings):
    return [name.format(settings.project) for name in (STACK, BACKUP, TIMER)]


# Text


def test_units_have_folder_and_owner_of_the_clone(here):
    owner = pwd.getpwuid(os.getuid()).pw_name
    for name in names(here)[:2]:
        unit = lines(systemd.units(here)[name])
        assert f"WorkingDirectory={str(here.root).replace('%', '%%')}" in unit
        assert f"User={owner}" in unit


def test_units_refer_to_each_other_by_the_names_of_the_clone(here):
    texts = systemd.units(here)
    assert list(texts) == names(here)
    stack, backup, _ = names(here)
    assert f"After={stack}" in lines(texts[backup])
    mentioned = set(re.findall(r"\bmlops-[\w-]+", "".join(texts.values())))
    assert mentioned == {stack.removesuffix(".service"), backup.removesuffix(".service")}
    assert all(here.project in text for text in texts.values())


def test_units_of_two_clones_have_different_names(here):
    other = replace(here, values={**here.values, "COMPOSE_PROJECT_NAME": "mine-d4e5f6"})
    assert not set(systemd.units(here)) & set(systemd.units(other))


@pytest.mark.parametrize(("engine", "needs_docker"), [("docker", True), ("standalone", False)])
def test_stack_unit_is_ordered_after_docker_only_with_docker(here, engine, needs_docker):
    text = systemd.units(here.with_engine(engine))[names(here)[0]]
    after = "network-online.target docker.service" if needs_docker else "network-online.target"
    assert {f"After={after}", f"Wants={after}"} <= set(lines(text))
    assert ("docker" in text.lower()) is needs_docker


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd on this machine")
@pytest.mark.parametrize("engine", ["docker", "standalone"])
def test_units_are_valid(here, tmp_path, engine):
    texts = systemd.units(here.with_engine(engine))
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    files = [str(tmp_path / name) for name in texts]
    verify = ["systemd-analyze", "verify", "--recursive-errors=no", *files]
    done = subprocess.run(verify, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_run_prints_all_units_with_their_paths(project, repo, clone, capsys):
    shutil.copytree(repo / "orchestration/systemd", clone / "orchestration/systemd")
    systemd_command.run(project, install=False)
    output = capsys.readouterr().out
    paths = re.findall(r"(?m)^# (/etc/systemd/system/\S+)$", output)
    assert paths == [
        f"/etc/systemd/system/{name.format(project.name)}" for name in (STACK, BACKUP, TIMER)
    ]
    assert output.count("[Service]") == 2
    assert "OnCalendar=" in output
    assert not (clone / ".env").exists()


# Installation


def test_install_units_as_root_enables_them(here, installed, recorded):
    message = systemd_command.install_units(here, installed)
    for name, text in systemd.units(here).items():
        assert (installed / name).read_text() == text
        assert (installed / name).stat().st_mode & 0o777 == 0o644
    stack, _, timer = names(here)
    assert recorded.lines == ["systemctl daemon-reload", f"systemctl enable {stack} {timer}"]
    assert message.endswith(f"sudo systemctl start {stack} {timer}")


def write_old_units(folder, root):
    place = str(root).replace("%", "%%")
    for name in OLD[:2]:
        install = "[Install]\nWantedBy=multi-user.target\n" if name == OLD[0] else ""
        (folder / name).write_text(f"[Service]\nWorkingDirectory={place}\n{install}")
    (folder / OLD[2]).write_text("[Timer]\n[Install]\nWantedBy=timers.target\n")


def test_install_units_replaces_those_of_earlier_versions(here, installed, recorded):
    write_old_units(installed, here.root)
    message = systemd_command.install_units(here, installed)
    assert sorted(path.name for path in installed.iterdir()) == sorted(names(here))
    assert recorded.lines[:2] == [
        f"systemctl disable {OLD[0]} {OLD[2]}", f"systemctl stop {OLD[2]}",
    ]  # fmt: skip
    assert all(name in message for name in OLD)
    # To stop the service would stop the stack.
    assert not [line for line in recorded.lines if "stop" in line and OLD[0] in line]


def test_install_units_keeps_those_of_another_clone(here, installed, recorded):
    write_old_units(installed, "/srv/another")
    other = replace(here, values={**here.values, "COMPOSE_PROJECT_NAME": "theirs-d4e5f6"},
                    root=here.root.parent / "another")  # fmt: skip
    shutil.copytree(here.root, other.root)
    systemd_command.install_units(other, installed)
    systemd_command.install_units(here, installed)
    kept = {path.name for path in installed.iterdir()}
    assert kept == {*OLD, *names(other), *names(here)}


def test_install_units_again_removes_nothing(here, installed, recorded):
    systemd_command.install_units(here, installed)
    assert "Removed" not in systemd_command.install_units(here, installed)


def test_install_units_without_root_names_the_next_command(here, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: 1234)
    with pytest.raises(StackError, match=r"Run: sudo .venv/bin/inv systemd --install"):
        systemd_command.install_units(here, tmp_path)
    assert not [*tmp_path.glob("mlops-*")]


def test_install_units_without_systemd_raises(here, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: 0)
    with pytest.raises(StackError, match="This machine has no systemd"):
        systemd_command.install_units(here, tmp_path / "absent")


# The nightly backup


@pytest.mark.parametrize(("result", "codes"), [("success", []), ("exit-code", ["backup-failed"])])
def test_backup_problem_is_the_result_of_the_unit(
    here, installed, recorded, monkeypatch, result, codes
):
    monkeypatch.setattr(systemd, "INSTALLED", installed)
    recorded.outputs["systemctl show"] = f"{result}\n"
    assert list(systemd.backup_problem(here)) == [], "not installed"
    assert recorded.lines == []
    _, backup, _ = names(here)
    (installed / backup).touch()
    problems = list(systemd.backup_problem(here))
    assert [one.code for one in problems] == codes
    assert all(backup in one.cause and backup in one.fix for one in problems)
