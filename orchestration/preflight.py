"""Check the machine before anything is changed and report all problems at once."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from orchestration.engines.base import PROXY, STOPPED, Engine
from orchestration.errors import Problem
from orchestration.host.clocks import clock_problems
from orchestration.host.minimums import (
    CPUS_ADVISED,
    MEMORY_ADVISED_GIB,
    MEMORY_TOLERANCE,
    PATIENCE_SECONDS,
)
from orchestration.host.permissions import folder_problems
from orchestration.host.ports import port_problem
from orchestration.host.resources import Host, least_cpus, least_memory, resource_problems
from orchestration.settings.model import Settings
from orchestration.settings.validation import PORTS
from orchestration.tls import certificates

# The variable from which the process of each page reads its port. It is the same in all containers.
OWN_PORT = {
    "airflow-apiserver": "AIRFLOW__API__PORT", "mlflow": "MLFLOW_PORT", "status": "STATUS_PORT",
}  # fmt: skip


def check(
    settings: Settings, engine: Engine, *, fresh_env: bool
) -> tuple[list[Problem], list[Problem]]:
    """Return the problems that prevent an install, and the ones that are only advice.

    If .env is new (`fresh_env`), the keys of existing data are lost.
    """
    if engine_problems := engine.problems():
        return [*engine_problems, *host_problems(settings, Host(folders=(settings.root,)))], []
    with ThreadPoolExecutor() as pool:
        host_facts = pool.submit(engine.host)
        ports = pool.submit(foreign_ports, settings, engine)
    host = host_facts.result()
    problems = [*host_problems(settings, host), *ports.result()]
    if fresh_env and (data := engine.surviving_data()):
        problems.append(lost_env(data))
    return problems, list(advice(host))


def host_problems(settings: Settings, host: Host) -> list[Problem]:
    """Return the problems of this machine and of the one the engine runs on."""
    problems = [*resource_problems(host), *host.problems, *certificates.problems(settings)]
    return [*problems, *folder_problems(settings), *clock_problems(host)]


def advice(host: Host) -> Iterator[Problem]:
    """Yield the resources that suffice but are below the recommendation."""
    memory, where, fix = least_memory(host)
    if memory < MEMORY_ADVISED_GIB * MEMORY_TOLERANCE:
        cause = f"{where} has {memory:.1f} GiB of memory. {MEMORY_ADVISED_GIB} GiB are recommended."
        yield Problem("memory-short", cause, fix, "machine")
    if (count := least_cpus(host)) < CPUS_ADVISED:
        cause = f"This machine has {count} CPU. {CPUS_ADVISED} are recommended."
        yield Problem("cpus-short", cause, "Expect everything to take longer.", "machine")
    yield from index_problems(host)


def index_problems(host: Host) -> Iterator[Problem]:
    """Yield a problem if a build needs the package index and it does not answer in time."""
    if host.index and host.index_ahead is None:
        cause = f"The package index {host.index} does not answer within {PATIENCE_SECONDS} s."
        fix = "Set PYPI_INDEX_URL in .env or https_proxy, then run: inv install"
        yield Problem("index-unreachable", cause, fix, "machine")


def foreign_ports(settings: Settings, engine: Engine) -> list[Problem]:
    """Return the ports that another program uses: a health check could pass against it.

    Ports on which the stack itself listens are not checked.
    """
    states = {service.name: service.state for service in engine.ps()}
    services = [*PORTS]
    if {"running", "orphaned"} & {*states.values()}:
        services = [name for name in PORTS if _changes_port(settings, engine, name, states)]
        if not services:
            return []
    with ThreadPoolExecutor() as pool:
        problems = [*filter(None, pool.map(partial(port_problem, settings), services))]
    names = PORTS.values()
    if len({settings[name] for name in names}) < len(names):
        cause = f"{', '.join(names)} must differ."
        problems.append(Problem("env-unusable", cause, "Change them in .env.", ".env"))
    return problems


def _changes_port(
    settings: Settings, engine: Engine, service: str, states: Mapping[str, str]
) -> bool:
    """Return whether a page of a running stack will get a port that the stack does not use."""
    publisher = PROXY if states.get(PROXY, "absent") not in STOPPED else service
    if publisher not in states or (publisher == PROXY and not settings.tls):
        return False
    if states[publisher] in STOPPED:
        return True
    current, intended = engine.environment(publisher), engine.intended_environment(publisher)
    # Docker lists each port. A process without a container has a variable for its own.
    ports = [name for name in intended if name.startswith("port ") or name == OWN_PORT[service]]
    return any(name in current and current[name] != intended[name] for name in ports)


def lost_env(data: list[str]) -> Problem:
    """Return the problem of existing data whose .env, and with it the keys, is lost."""
    cause = (
        f"Data of an earlier install exists ({', '.join(data)}), but .env with its keys is gone."
    )
    fix = (
        "Put the old .env back from a backup. Or delete the data for good: inv down --volumes --yes"
    )
    return Problem("env-lost", cause, fix, ".env")
