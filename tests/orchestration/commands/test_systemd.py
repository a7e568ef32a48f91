"""The unit file: for this clone, read by systemd, put in place by root alone."""

import os
import pwd
import shutil
import subprocess

import pytest

from orchestration.commands import systemd
from orchestration.errors import StackError


@pytest.fixture
def here(repo, tmp_path):
    """A clone in a folder whose name systemd would read otherwise."""
    root = tmp_path / "50% of it"
    (root / "orchestration/systemd").mkdir(parents=True)
    for name in systemd.UNITS:
        shutil.copy2(repo / "orchestration/systemd" / name, root / "orchestration/systemd")
    return root


def lines(text):
    return [line for line in text.splitlines() if line and line[0] != "#"]


@pytest.mark.parametrize("name", [systemd.UNIT, systemd.BACKUP])
def test_it_is_the_file_of_the_repository_with_folder_and_owner_of_this_clone(here, repo, name):
    before = lines((repo / "orchestration/systemd" / name).read_text())
    changed = set(lines(systemd.unit(here, name))) - set(before)
    assert changed <= {
        f"WorkingDirectory={str(here).replace('%', '%%')}",
        f"User={pwd.getpwuid(os.getuid()).pw_name}",
    }
    assert f"WorkingDirectory={str(here).replace('%', '%%')}" in changed


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd on this machine")
def test_systemd_reads_it(here, tmp_path):
    files = [tmp_path / name for name in systemd.UNITS]
    for file in files:
        file.write_text(systemd.unit(here, file.name))
    verify = ["systemd-analyze", "verify", "--recursive-errors=no", *map(str, files)]
    done = subprocess.run(verify, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_root_puts_it_in_place_for_each_boot(here, tmp_path, recorded, monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: 0)
    monkeypatch.setattr(systemd.runner, "run", recorded.run)
    said = systemd.install_units(here, tmp_path)
    for name in systemd.UNITS:
        assert (tmp_path / name).read_text() == systemd.unit(here, name)
    started = f"{systemd.UNIT} {systemd.TIMER}"
    assert recorded.lines == ["systemctl daemon-reload", f"systemctl enable {started}"]
    assert said.endswith(f"sudo systemctl start {started}")


def test_others_are_told_how(here, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: 1234)
    with pytest.raises(StackError, match=r"Run: sudo .venv/bin/inv systemd --install"):
        systemd.install_units(here, tmp_path)
    assert not (tmp_path / systemd.UNIT).exists()


def test_without_systemd_that_is_said(here, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: 0)
    with pytest.raises(StackError, match="This machine has no systemd"):
        systemd.install_units(here, tmp_path / "absent")
