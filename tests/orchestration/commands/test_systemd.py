"""Test the systemd units: their values for a clone, their syntax and their installation."""

import os
import pwd
import shutil
import subprocess

import pytest

from orchestration.commands import systemd
from orchestration.errors import StackError


@pytest.fixture
def here(repo, tmp_path):
    """Return a clone in a folder whose name contains a % sign, which systemd expands."""
    root = tmp_path / "50% of it"
    (root / "orchestration/systemd").mkdir(parents=True)
    for name in systemd.UNITS:
        shutil.copy2(repo / "orchestration/systemd" / name, root / "orchestration/systemd")
    return root


def lines(text):
    return [line for line in text.splitlines() if line and line[0] != "#"]


@pytest.mark.parametrize("name", [systemd.UNIT, systemd.BACKUP])
def test_unit_has_folder_and_owner_of_the_clone(here, repo, name):
    before = lines((repo / "orchestration/systemd" / name).read_text())
    changed = set(lines(systemd.unit(here, name))) - set(before)
    assert changed <= {
        f"WorkingDirectory={str(here).replace('%', '%%')}",
        f"User={pwd.getpwuid(os.getuid()).pw_name}",
    }
    assert f"WorkingDirectory={str(here).replace('%', '%%')}" in changed


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd on this machine")
def test_units_are_valid(here, tmp_path):
    files = [tmp_path / name for name in systemd.UNITS]
    for file in files:
        file.write_text(systemd.unit(here, file.name))
    verify = ["systemd-analyze", "verify", "--recursive-errors=no", *map(str, files)]
    done = subprocess.run(verify, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_install_units_as_root_enables_them(here, tmp_path, recorded, monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: 0)
    monkeypatch.setattr(systemd.runner, "run", recorded.run)
    message = systemd.install_units(here, tmp_path)
    for name in systemd.UNITS:
        assert (tmp_path / name).read_text() == systemd.unit(here, name)
    units = f"{systemd.UNIT} {systemd.TIMER}"
    assert recorded.lines == ["systemctl daemon-reload", f"systemctl enable {units}"]
    assert message.endswith(f"sudo systemctl start {units}")


def test_install_units_without_root_names_the_next_command(here, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: 1234)
    with pytest.raises(StackError, match=r"Run: sudo .venv/bin/inv systemd --install"):
        systemd.install_units(here, tmp_path)
    assert not (tmp_path / systemd.UNIT).exists()


def test_install_units_without_systemd_raises(here, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: 0)
    with pytest.raises(StackError, match="This machine has no systemd"):
        systemd.install_units(here, tmp_path / "absent")
