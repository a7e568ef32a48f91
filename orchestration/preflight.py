"""What must hold before anything is changed: looked at whole, reported all at once."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from orchestration.engines.base import Engine
from orchestration.host.clocks import clock_problems
from orchestration.host.minimums import (
    CPUS_ADVISED,
    MEMORY_ADVISED_GIB,
    MEMORY_TOLERANCE,
    PATIENCE_SECONDS,
)
from orchestration.host.permissions import folder_problems
from orchestration.host.ports import unusable
from orchestration.host.resources import Host, least_cpus, least_memory, resource_problems
from orchestration.settings.model import Settings
from orchestration.tls import certificates

PORTS = ("AIRFLOW_PORT", "MLFLOW_PORT", "STATUS_PORT")


def look(settings: Settings, engine: Engine, *, fresh_env: bool) -> tuple[list[str], list[str]]:
    """What stands in the way, each with what to do, and what is only worth a line.

    Changes nothing. `fresh_env` tells that .env was made a moment ago: data that is older than it
    was encrypted and locked with keys that are gone.
    """
    if silent := engine.problems():
        return [*silent, *host_problems(settings, Host(places=(settings.root,)))], []
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(engine.host)
        taken = pool.submit(foreign_ports, settings, engine)
    host = asked.result()
    wrong = [*host_problems(settings, host), *taken.result()]
    if fresh_env and (left := engine.surviving_data()):
        wrong.append(lost_env(left))
    return wrong, list(advice(host))


def host_problems(settings: Settings, host: Host) -> list[str]:
    """What the machine, or the engine's, lacks."""
    wrong = [*resource_problems(host), *host.problems]
    wrong += certificates.problems(settings)
    return [*wrong, *folder_problems(settings), *clock_problems(host)]


def advice(host: Host) -> Iterator[str]:
    """What is not refused but worth a line."""
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
