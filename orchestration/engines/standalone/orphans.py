"""Processes that a killed supervisord left behind, found by what they inherited from it."""

from collections.abc import Iterator

import psutil

from orchestration.process.wait import wait_until


def left_by(supervisor: str) -> dict[psutil.Process, str]:
    """Processes below that supervisord's address, with the name of their service.

    Only this clone's: each child carries the address in its environment.
    """
    found = {}
    for process in psutil.process_iter():
        try:
            environment = process.environ()
        except (psutil.Error, OSError):
            continue
        if environment.get("SUPERVISOR_SERVER_URL") == supervisor:
            found[process] = environment.get("SUPERVISOR_PROCESS_NAME", "")
    return found


def end(supervisor: str, grace_seconds: float = 15.0) -> None:
    """End them: PostgreSQL and the rest in good order first, then by force.

    Raises nothing for one that has ended meanwhile.
    """
    for kill in (False, True):
        processes = list(left_by(supervisor))
        for process in processes:
            try:
                process.kill() if kill else process.terminate()
            except psutil.NoSuchProcess:
                continue
        # One that ended but was not collected yet has no environment: it is not found again.
        wait_until(lambda: not left_by(supervisor), grace_seconds, pause=0.05)


def family(pid: int) -> Iterator[psutil.Process]:
    """A process and all below it that still live."""
    try:
        parent = psutil.Process(pid)
        for process in (parent, *parent.children(recursive=True)):
            if process.status() != psutil.STATUS_ZOMBIE:
                yield process
    except psutil.NoSuchProcess:
        return


def environment(pid: int) -> dict[str, str]:
    """What a process was started with; empty where it is gone or somebody else's."""
    try:
        return psutil.Process(pid).environ()
    except (psutil.Error, OSError):
        return {}


def memory(pid: int) -> int:
    """Bytes a process and its children hold, pages they share counted once (PSS)."""
    total = 0
    for process in family(pid):
        try:
            total += process.memory_full_info().pss
        except (psutil.Error, OSError):
            continue
    return total
