"""One verb at a time: who holds the lock is told, and a holder that was killed holds nothing."""

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
with lock.at_work("rebuild", Path(sys.argv[1])):
    left = subprocess.Popen(["sleep", "60"])
    print(left.pid, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(repo, tmp_path):
    """Another process at work in the clone, with one of its own that outlives it."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], cwd=repo, stdout=subprocess.PIPE, text=True
    )
    left = int(process.stdout.readline())
    yield process
    process.kill()
    process.wait()
    process.stdout.close()
    os.kill(left, signal.SIGKILL)


def test_the_second_is_told_of_the_first_until_that_is_killed(holder, tmp_path):
    with pytest.raises(StackError) as refused, lock.at_work("up", tmp_path):
        pass
    who = rf"inv rebuild \(process {holder.pid}, since \d\d:\d\d:\d\d\)"
    assert re.match(f"{who} is at work in this clone: wait until it has ended", str(refused.value))
    holder.kill()
    holder.wait()
    with lock.at_work("up", tmp_path):
        assert (tmp_path / ".lock").read_text().startswith(f"inv up (process {os.getpid()}, ")


def test_what_an_ended_process_wrote_refuses_nobody_and_is_replaced(tmp_path):
    old = f"inv rebuild (process 1, since 00:00:00){' and more' * 20}\n"
    (tmp_path / ".lock").write_text(old)
    with lock.at_work("up", tmp_path):
        [line] = (tmp_path / ".lock").read_text().splitlines()
        assert re.fullmatch(r"inv up \(process \d+, since [\d:]{8}\)", line)


def test_a_holder_that_has_not_written_yet_is_another_verb(tmp_path):
    with (tmp_path / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with (
            pytest.raises(StackError, match=r"^another verb is at work"),
            lock.at_work("up", tmp_path),
        ):
            pass


@pytest.mark.parametrize("error", [StackError, KeyboardInterrupt, SystemExit])
def test_a_verb_that_fails_lets_it_go(tmp_path, error):
    with pytest.raises(error), lock.at_work("up", tmp_path):
        raise error
    with lock.at_work("down", tmp_path):
        pass


def test_a_clone_that_cannot_be_written_to_is_told(tmp_path):
    # Rights would not stop root; a file in the folder's place stops everybody.
    folder = tmp_path / "clone"
    folder.write_text("")
    with pytest.raises(StackError) as refused, lock.at_work("up", folder):
        pass
    told = f"{folder} cannot be written to (Not a directory): work in a clone that belongs to you"
    assert str(refused.value) == told
