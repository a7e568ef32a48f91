"""What must hold before anything is changed: looked at whole, reported all at once."""

import errno
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

from orchestration.engine import Engine
from orchestration.settings import Settings

GIB = 1024**3
MEMORY_NEEDED_GIB = 4
MEMORY_ADVISED_GIB = 8
DISK_NEEDED_GIB = 6
PORTS = ("AIRFLOW_PORT", "MLFLOW_PORT", "STATUS_PORT")


def problems(settings: Settings, engine: Engine, *, fresh_env: bool) -> list[str]:
    """Everything that stands in the way, each with what to do; changes nothing.

    `fresh_env` tells that .env was made a moment ago: data that is older than it was encrypted
    and locked with keys that are gone.
    """
    wrong = engine.problems()
    if wrong:
        return [*wrong, *resource_problems(settings.root)]
    wrong = [*resource_problems(settings.root), *foreign_ports(settings, engine)]
    if fresh_env and (left := engine.surviving_data()):
        wrong.append(lost_env(left))
    return wrong


def resource_problems(root: Path) -> list[str]:
    """Memory and disk below what the stack needs."""
    wrong = []
    if (memory := memory_gib()) < MEMORY_NEEDED_GIB * 0.95:
        wrong.append(f"{memory:.1f} GiB of memory: the stack needs {MEMORY_NEEDED_GIB} GiB")
    if (free := shutil.disk_usage(root).free / GIB) < DISK_NEEDED_GIB:
        wrong.append(
            f"{free:.1f} GiB of disk free in {root}: the stack needs {DISK_NEEDED_GIB} GiB"
        )
    return wrong


def advice() -> Iterator[str]:
    """What is not refused but worth a line."""
    if (memory := memory_gib()) < MEMORY_ADVISED_GIB * 0.95:
        yield f"{memory:.1f} GiB of memory: {MEMORY_ADVISED_GIB} GiB are advised"


def memory_gib() -> float:
    """This machine's memory, in GiB."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB


def foreign_ports(settings: Settings, engine: Engine) -> list[str]:
    """Ports that something else listens on: a health check could pass against a stranger."""
    if any(service.state in ("running", "orphaned") for service in engine.ps()):
        return []
    wrong = []
    for name in PORTS:
        if why := unusable(settings["BIND_ADDRESS"], int(settings[name])):
            place = f"port {settings[name]} on {settings['BIND_ADDRESS']}"
            wrong.append(f"{place} {why}: stop what listens there, or set {name} in .env")
    if len({settings[name] for name in PORTS}) < len(PORTS):
        wrong.append(f"{', '.join(PORTS)} must differ: change them in .env")
    return wrong


def unusable(address: str, port: int) -> str:
    """Why nothing can listen on that address and port, or blank."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            return "is taken" if taken else f"cannot be used ({error.strerror})"
    return ""


def lost_env(left: list[str]) -> str:
    """The refusal when data outlived the .env that holds its keys."""
    return (
        f"data of an earlier install is here ({', '.join(left)}) but its .env is gone, and with it "
        "the keys. Two ways out: put the old .env back from a backup; or give the data up: "
        "inv down --volumes --yes"
    )
