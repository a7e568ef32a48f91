"""Find and stop processes that a killed supervisord left behind."""

from collections.abc import Iterator

import psutil

from orchestration.process.wait import wait_until


def find(supervisor: str) -> dict[psutil.Process, str]:
    """Return the processes below the supervisord at that address, with their service's name.

    These are only this clone's: each child inherits the address in its environment.
    """
    processes = {}
    for process in psutil.process_iter():
        try:
            environment = process.environ()
        except (psutil.Error, OSError):
            continue
        if environment.get("SUPERVISOR_SERVER_URL") == supervisor:
            processes[process] = environment.get("SUPERVISOR_PROCESS_NAME", "")
    return processes


def stop(supervisor: str, grace_seconds: float = 15.0) -> None:
    """Terminate the processes that `find` returns, and kill those that outlast the grace period.

    A process that exits meanwhile is no error.
    """
    for kill in (False, True):
        processes = list(find(supervisor))
        for process in processes:
            try:
                process.kill() if kill else process.terminate()
            except psutil.NoSuchProcess:
                continue
        # A zombie has no environment, so it is not found again.
        wait_until(lambda: not find(supervisor), grace_seconds, pause=0.05)


def process_tree(pid: int) -> Iterator[psutil.Process]:
    """Yield a process and its descendants, zombies left out; nothing if it does not exist."""
    try:
        parent = psutil.Process(pid)
        for process in (parent, *parent.children(recursive=True)):
            if process.status() != psutil.STATUS_ZOMBIE:
                yield process
    except psutil.NoSuchProcess:
        return


def environment(pid: int) -> dict[str, str]:
    """Return a process's variables; empty if it does not exist or belongs to another user."""
    try:
        return psutil.Process(pid).environ()
    except (psutil.Error, OSError):
        return {}


def memory(pid: int) -> int:
    """Return the bytes a process and its descendants use; shared pages count once (PSS)."""
    total = 0
    for process in process_tree(pid):
        try:
            total += process.memory_full_info().pss
        except (psutil.Error, OSError):
            continue
    return total
