"""Test the lock of a clone, also against another process."""

import fcntl
import os
import re
import signal
import subprocess
import sys

import pytest

from orchestration.errors import StackError
from orchestration.process import lock

HOLDER = """
import subprocess, sys, time
from pathlib import Path
from orchestration.process import lock
with lock.acquire("rebuild", Path(sys.argv[1])):
    child = subprocess.Popen(["sleep", "60"])
    print(child.pid, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(repo, tmp_path):
    """Another process that has the lock, with a child that outlives it."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], cwd=repo, stdout=subprocess.PIPE, text=True
    )
    child = int(process.stdout.readline())
    yield process
    process.kill()
    process.wait()
    process.stdout.close()
    os.kill(child, signal.SIGKILL)


def test_acquire_names_other_command_until_it_is_killed(holder, tmp_path):
    with pytest.raises(StackError) as refused, lock.acquire("up", tmp_path):
        pass
    command = rf"inv rebuild \(process {holder.pid}, since \d\d:\d\d:\d\d\)"
    message = rf"{command} is running in this clone\.\nWait until it has finished"
    assert re.match(message, str(refused.value))
    holder.kill()
    holder.wait()
    with lock.acquire("up", tmp_path):
        assert (tmp_path / ".lock").read_text().startswith(f"inv up (process {os.getpid()}, ")


def test_acquire_ignores_and_replaces_old_text(tmp_path):
    old = f"inv rebuild (process 1, since 00:00:00){' and more' * 20}\n"
    (tmp_path / ".lock").write_text(old)
    with lock.acquire("up", tmp_path):
        [line] = (tmp_path / ".lock").read_text().splitlines()
        assert re.fullmatch(r"inv up \(process \d+, since [\d:]{8}\)", line)


def test_acquire_empty_lock_file_reports_another_command(tmp_path):
    with (tmp_path / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with (
            pytest.raises(StackError, match=r"^Another command is running"),
            lock.acquire("up", tmp_path),
        ):
            pass


@pytest.mark.parametrize("error", [StackError, KeyboardInterrupt, SystemExit])
def test_acquire_failing_body_releases_lock(tmp_path, error):
    with pytest.raises(error), lock.acquire("up", tmp_path):
        raise error
    with lock.acquire("down", tmp_path):
        pass


def test_acquire_unwritable_clone_is_an_error(tmp_path):
    # A file instead of the folder also stops root, which permissions would not.
    folder = tmp_path / "clone"
    folder.write_text("")
    with pytest.raises(StackError) as refused, lock.acquire("up", folder):
        pass
    cause = f"{folder} is not writable (Not a directory)."
    assert str(refused.value) == f"{cause}\nUse a clone that belongs to you."
