"""What must hold before anything is changed: looked at whole, reported all at once."""

import os
import shlex
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from urllib.parse import urlsplit

from orchestration.engine import Engine, Host
from orchestration.ports import unusable
from orchestration.settings import Settings

MEMORY_NEEDED_GIB, MEMORY_ADVISED_GIB = 4, 8
# Firmware and kernel keep a part of what a machine is sold with.
MEMORY_TOLERANCE = 0.95
CPUS_NEEDED, CPUS_ADVISED = 1, 2
# Where images or environments and the data go; where only the clone is.
DISK_NEEDED_GIB, CLONE_NEEDED_GIB = 6, 1
OLDEST_ENGINE, OLDEST_COMPOSE = (20, 10), (2, 20)
# No clock can be right that is before this was written.
EARLIEST = datetime(2026, 11, 1, tzinfo=UTC)
# Between containers and this machine; against the world, where S3 refuses after 15 minutes.
CLOCK_SKEW_SECONDS, INDEX_SKEW_SECONDS = 30, 300
# For questions that leave this machine.
PATIENCE_SECONDS = 3

GIB = 1024**3
PORTS = ("AIRFLOW_PORT", "MLFLOW_PORT", "STATUS_PORT")
# The folders that Airflow's services mount, and their rights there (as in chmod).
MOUNTS = {"dags": 0o5, "logs": 0o7, "plugins": 0o5}
PYPI = "https://pypi.org/simple/"
SET_CLOCK = "sudo timedatectl set-ntp true"


def problems(settings: Settings, engine: Engine, *, fresh_env: bool) -> list[str]:
    """Everything that stands in the way, each with what to do; changes nothing.

    `fresh_env` tells that .env was made a moment ago: data that is older than it was encrypted
    and locked with keys that are gone.
    """
    if wrong := engine.problems():
        here = Host(places=(settings.root,))
        return [*wrong, *resource_problems(here), *folder_problems(settings), *clock_problems(here)]
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(host_of, engine)
        taken = pool.submit(foreign_ports, settings, engine)
    host = asked.result()
    wrong = [*resource_problems(host), *host.problems, *folder_problems(settings)]
    wrong += [*clock_problems(host), *taken.result()]
    if fresh_env and (left := engine.surviving_data()):
        wrong.append(lost_env(left))
    return wrong


@lru_cache(maxsize=1)
def host_of(engine: Engine) -> Host:
    """What the engine tells of its host, asked once for problems and advice."""
    return engine.host()


def advice(engine: Engine) -> Iterator[str]:
    """What is not refused but worth a line."""
    host = host_of(engine)
    memory, where, _ = least_memory(host)
    if memory < MEMORY_ADVISED_GIB * MEMORY_TOLERANCE:
        yield f"{memory:.1f} GiB of memory{where}: {MEMORY_ADVISED_GIB} GiB are advised"
    if (count := least_cpus(host)) < CPUS_ADVISED:
        yield f"{count} CPU: {CPUS_ADVISED} are advised, everything will take its time"
    if host.index and host.index_ahead is None:
        yield (
            f"the package index {host.index} does not answer within {PATIENCE_SECONDS} s: unless "
            "uv and pip have a mirror set here, set PYPI_INDEX_URL in .env or https_proxy"
        )


def resource_problems(host: Host) -> list[str]:
    """Memory, processors and disk below what the stack needs."""
    wrong = []
    memory, where, way_out = least_memory(host)
    if memory < MEMORY_NEEDED_GIB * MEMORY_TOLERANCE:
        needed = f"the stack needs {MEMORY_NEEDED_GIB} GiB"
        wrong.append(f"{memory:.1f} GiB of memory{where}: {needed}: {way_out}")
    if (count := least_cpus(host)) < CPUS_NEEDED:
        wrong.append(f"{count} CPUs: the stack needs {CPUS_NEEDED}: use a larger machine")
    return [*wrong, *disk_problems(host.places)]


def least_memory(host: Host) -> tuple[float, str, str]:
    """The memory that ends first, in GiB; where, unless it is here; and how to get more."""
    limited = memory_limit_gib() < machine_gib()
    here = "raise the memory limit of this container or session" if limited else "add memory"
    known = [(memory_gib(), "", here)]
    if host.memory_gib is not None:
        there = "give it more (Docker Desktop: Settings, Resources)"
        known.append((host.memory_gib, " in the engine's machine", there))
    return min(known, key=lambda one: one[0])


def memory_gib() -> float:
    """The memory this process may use, in GiB."""
    return min(machine_gib(), memory_limit_gib())


def machine_gib() -> float:
    """This machine's memory, in GiB."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB


def memory_limit_gib(
    cgroups: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")
) -> float:
    """The least limit of the cgroups this process is in (versions 1 and 2); infinite for none."""
    limits = [float("inf")]
    for line in membership.read_text().splitlines() if membership.exists() else ():
        _, controllers, group = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        top = cgroups / controllers
        own = top / group.strip("/")
        # In a container the path may be that of the host: its own limit is then at the top.
        for folder in (own, *own.parents[: len(own.relative_to(top).parts)]):
            limits += _limits_in(folder)
    return min(limits)


def _limits_in(folder: Path) -> Iterator[float]:
    for name in ("memory.max", "memory.limit_in_bytes"):
        file = folder / name
        if file.exists() and (text := file.read_text().strip()).isdigit():
            yield int(text) / GIB


def least_cpus(host: Host) -> int:
    """The processors that the services may use."""
    return min(cpus(), host.cpus if host.cpus is not None else cpus())


def cpus() -> int:
    """The processors that this process may use."""
    known = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1


def disk_problems(places: Sequence[Path]) -> Iterator[str]:
    """File systems with too little room, each once; the last place is where the data goes."""
    needed = {}
    for place in places:
        at_least = DISK_NEEDED_GIB if place == places[-1] else CLONE_NEEDED_GIB
        needed[place.stat().st_dev] = (place, at_least)
    for place, at_least in needed.values():
        if (free := shutil.disk_usage(place).free / GIB) < at_least:
            yield (
                f"{free:.1f} GiB of disk free in {place}: the stack needs {at_least} GiB: free "
                f"some, sudo du -xhd1 {shlex.quote(str(place))} | sort -h tells what fills it"
            )


def folder_problems(settings: Settings) -> list[str]:
    """Folders that must be written to (.env, locks, what is mounted) and cannot be."""
    folders = [settings.root, settings.root / "install"]
    if not all((settings.project_dir / name).exists() for name in MOUNTS):
        folders.append(nearest(settings.project_dir))
    told: dict[Path, str] = {}
    for folder in folders:
        # What mends a folder mends those in it.
        known = told.keys() & {folder, *folder.parents}
        if os.path.exists(folder) and not known and (problem := unwritable(folder)):
            told[folder] = problem
    return list(told.values())


def nearest(folder: Path) -> Path:
    """The folder itself or the nearest above it that exists."""
    return next(place for place in (folder, *folder.parents) if os.path.exists(place))


def unwritable(folder: Path) -> str:
    """Why this user cannot write in a folder and what to do, or blank."""
    if os.access(folder, os.W_OK | os.X_OK):
        return ""
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        return f"{folder} is on a read-only file system: clone to a place that can be written to"
    return f"{folder} is not writable for you: sudo chown -R $USER {shlex.quote(str(folder))}"


def uid_problem(settings: Settings) -> str:
    """Why Airflow's containers cannot run as AIRFLOW_UID, or blank."""
    uid = settings["AIRFLOW_UID"]
    if uid.isascii() and uid.isdigit() and int(uid):
        return ""
    why = "is not a user's number" if uid.strip("0") else "would run Airflow as root"
    return f"AIRFLOW_UID={uid} {why}: leave it blank in .env, then inv install"


def mount_problems(settings: Settings) -> Iterator[str]:
    """What AIRFLOW_UID in group 0 may not do in folders that are mounted and exist already."""
    uid = int(settings["AIRFLOW_UID"])
    for name, rights in MOUNTS.items():
        folder = settings.project_dir / name
        if os.path.isdir(folder) and not permits(folder, uid, rights):
            may = "write to" if name == "logs" else "read"
            yield f"AIRFLOW_UID={uid} may not {may} {folder}: {_mend(folder, uid, rights)}"


def permits(folder: Path, uid: int, rights: int) -> bool:
    """Whether that user in group 0 has these rights there, as the kernel decides it."""
    held = folder.stat()
    bits = 6 if held.st_uid == uid else 3 if held.st_gid == 0 else 0
    # An access list may give what the mode does not tell: taken for the person's intent.
    listed = hasattr(os, "listxattr") and "system.posix_acl_access" in os.listxattr(folder)
    return listed or (held.st_mode >> bits) & rights == rights


def _mend(folder: Path, uid: int, rights: int) -> str:
    sudo = "" if os.getuid() in (0, folder.stat().st_uid) else "sudo "
    quoted = shlex.quote(str(folder))
    if rights == MOUNTS["logs"] and folder.stat().st_uid != uid:
        return f"{'sudo ' if os.getuid() else ''}chown -R {uid}:0 {quoted}"
    return f"{sudo}chmod -R {'u+rwX' if rights == MOUNTS['logs'] else 'a+rX'} {quoted}"


def clock_problems(host: Host) -> Iterator[str]:
    """Clocks that are wrong or apart: tokens, certificates and S3 refuse over it."""
    if now() < EARLIEST:
        yield f"this machine's clock says {now():%Y-%m-%d}, which is past: {SET_CLOCK}"
    if abs(host.ahead or 0) > CLOCK_SKEW_SECONDS:
        yield (
            f"the engine's clock is {_apart(host.ahead)} this machine's, tokens would be refused: "
            "restart the engine (Docker Desktop: quit and start it)"
        )
    if abs(host.index_ahead or 0) > INDEX_SKEW_SECONDS:
        yield (
            f"this machine's clock is {_apart(-host.index_ahead)} that of {host.index}, "
            f"certificates and S3 would refuse: {SET_CLOCK}"
        )


def now() -> datetime:
    """The time this machine believes it is."""
    return datetime.now(UTC)


def ahead(moment: datetime) -> float:
    """By how many seconds another clock, just read, is ahead of this machine's."""
    return (moment - now()).total_seconds()


def _apart(seconds: float) -> str:
    return f"{abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'}"


def ask_index(settings: Settings) -> tuple[str, float | None]:
    """The host of the package index and by how much its clock is ahead; None: no answer."""
    address = settings["PYPI_INDEX_URL"] or PYPI
    # The address may hold a password.
    name = urlsplit(address).hostname or ""
    answers: SimpleQueue[float | None] = SimpleQueue()
    if not name:
        return "", None

    def ask() -> None:
        answers.put(_clock_of(address, settings["CA_BUNDLE"]))

    # Beside this: a name server may take longer than any patience given to `requests`.
    Thread(target=ask, daemon=True).start()
    try:
        return name, answers.get(timeout=PATIENCE_SECONDS)
    except Empty:
        return name, None


def _clock_of(address: str, bundle: str) -> float | None:
    import requests

    trusted = bundle if os.path.exists(bundle) else True
    try:
        told = requests.head(address, timeout=PATIENCE_SECONDS, verify=trusted).headers
    except (requests.RequestException, OSError):
        return None
    try:
        # A cache gives the date of the answer it kept, and for how long it has kept it.
        age = timedelta(seconds=int(told.get("Age", 0)))
        return ahead(parsedate_to_datetime(told["Date"]) + age)
    except (KeyError, ValueError, TypeError):
        return 0.0


def foreign_ports(settings: Settings, engine: Engine) -> list[str]:
    """Ports that something else listens on: a health check could pass against a stranger."""
    if any(service.state in ("running", "orphaned") for service in engine.ps()):
        return []
    with ThreadPoolExecutor() as pool:
        wrong = [
            told for told in pool.map(lambda name: _port_problem(settings, name), PORTS) if told
        ]
    if len({settings[name] for name in PORTS}) < len(PORTS):
        wrong.append(f"{', '.join(PORTS)} must differ: change them in .env")
    return wrong


def _port_problem(settings: Settings, name: str) -> str:
    address, port = settings["BIND_ADDRESS"], settings[name]
    if not (why := unusable(address, int(port))):
        return ""
    taken = why.startswith("is taken")
    way_out = "stop what listens there, or set" if taken else "set BIND_ADDRESS or"
    return f"port {port} on {address} {why}: {way_out} {name} in .env"


def lost_env(left: list[str]) -> str:
    """The refusal when data outlived the .env that holds its keys."""
    return (
        f"data of an earlier install is here ({', '.join(left)}) but its .env is gone, and with it "
        "the keys. Two ways out: put the old .env back from a backup; or give the data up: "
        "inv down --volumes --yes"
    )
