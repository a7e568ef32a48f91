"""Detect services that run with outdated or inconsistent settings.

Values are compared but never printed.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from orchestration.engines.base import Runtime, image_of
from orchestration.errors import Problem
from orchestration.host.ports import port_problem
from orchestration.settings import compose_file
from orchestration.settings.model import Settings
from orchestration.settings.validation import PORTS

OVERRIDE = "orchestration/docker-compose.override.yaml"
EXECUTION_URL = "AIRFLOW__CORE__EXECUTION_API_SERVER_URL"
# Values that Airflow's services must share: variable, code of the problem, effect.
SHARED = (
    ("AIRFLOW__API_AUTH__JWT_SECRET", "jwt-secret-differs", "tokens of tasks are rejected"),
    (
        "AIRFLOW__WEBSERVER__SECRET_KEY",
        "web-secret-differs",
        "logs of running tasks cannot be read",
    ),
    ("AIRFLOW__CORE__FERNET_KEY", "fernet-key-differs", "connections cannot be decrypted"),
)
# Settings whose values must match the existing data.
DATA_KEYS = (
    "AIRFLOW_FERNET_KEY", "POSTGRES_PASSWORD", "AIRFLOW_DB_PASSWORD", "MLFLOW_DB_PASSWORD",
)  # fmt: skip
# With containers this is a constant, so the Compose file does not contain the setting.
WITHOUT_CONTAINERS = {"AIRFLOW__CORE__PARALLELISM": {"WORKER_CONCURRENCY"}}
Environments = Mapping[str, Mapping[str, str]]


@dataclass
class Comparison:
    """The environments that services were started with, and those that they would get now."""

    current: Environments
    intended: Environments
    # Variables that have a problem of their own.
    reported: set[str] = field(default_factory=set)

    def changed(self) -> dict[str, set[str]]:
        """Return the variables that would get another value now, each with its services."""
        changed: dict[str, set[str]] = {}
        for service, intended in self.intended.items():
            for variable in intended.keys() - self.reported:
                if self.current[service].get(variable) != intended[variable]:
                    changed.setdefault(variable, set()).add(service)
        return changed


def problems(settings: Settings, engine: Runtime, running: Iterable[str]) -> Iterator[Problem]:
    """Yield differences between running services, and between them and .env."""
    environments = {name: engine.environment(name) for name in running}
    current = {name: environment for name, environment in environments.items() if environment}
    if not current:
        return
    comparison = Comparison(current, {name: engine.intended_environment(name) for name in current})
    for variable, code, effect in SHARED:
        yield from _shared(comparison, variable, code, effect)
    status = current.get("status") or engine.intended_environment("status")
    yield from _execution_url(comparison, status.get("AIRFLOW_URL", ""))
    yield from _not_applied(comparison, settings)


def _shared(comparison: Comparison, variable: str, code: str, effect: str) -> Iterator[Problem]:
    values = _in_airflow(comparison.current, variable, comparison.intended)
    if len(set(values.values())) < 2:
        return
    intended = Counter(_in_airflow(comparison.intended, variable, comparison.intended).values())
    right = intended.most_common(1)[0][0]
    odd = ", ".join(sorted(service for service, value in values.items() if value != right))
    comparison.reported.add(variable)
    cause = f"{variable} differs between Airflow's services, so {effect}."
    yield Problem(code, cause, _fix(variable, overridden=len(intended) > 1), odd)


def _execution_url(comparison: Comparison, airflow: str) -> Iterator[Problem]:
    right = f"{airflow}/execution/"
    values = _in_airflow(comparison.current, EXECUTION_URL, comparison.intended)
    for service, value in values.items():
        if airflow and value != right:
            comparison.reported.add(EXECUTION_URL)
            cause = "Its tasks use an execution API address where the api-server does not listen."
            overridden = comparison.intended[service][EXECUTION_URL] != right
            fix = _fix(EXECUTION_URL, overridden=overridden)
            yield Problem("execution-api-url", cause, fix, service)


def _in_airflow(values: Environments, variable: str, intended: Environments) -> dict[str, str]:
    """Return the variable's value in each of Airflow's services that should have one."""
    names = [name for name in intended if image_of(name) == "airflow"]
    return {name: values[name].get(variable, "") for name in names if variable in intended[name]}


def _fix(variable: str, *, overridden: bool) -> str:
    return f"Remove {variable} from {OVERRIDE}, then run: inv up" if overridden else "inv up"


def _not_applied(comparison: Comparison, settings: Settings) -> Iterator[Problem]:
    changed = comparison.changed()
    if not changed:
        return
    references = compose_file.references(settings)
    references |= WITHOUT_CONTAINERS if settings.engine == "standalone" else {}
    names = _changed_settings(changed, comparison, references)
    # The stack cannot move to a port that another program uses.
    ports = (port_problem(settings, service) for service, name in PORTS.items() if name in names)
    if taken := [*filter(None, ports)]:
        yield from taken
        numbers = {PORTS[problem.where]: settings[PORTS[problem.where]] for problem in taken}
        rest = _independent_of(numbers, changed, comparison, references)
        names = _changed_settings(rest, comparison, references)
    where = ", ".join(sorted(set[str]().union(*changed.values())))
    keys = [name for name in names if name in DATA_KEYS and not _key_added(comparison, name)]
    if keys:
        yield _data_key_edited(keys, where)
    if others := [name for name in names if name not in keys]:
        cause = f"The running services do not use the current value of: {', '.join(others)}."
        yield Problem("settings-not-applied", cause, "inv up", where)


def _independent_of(
    ports: Mapping[str, str],
    changed: Mapping[str, set[str]],
    comparison: Comparison,
    references: Mapping[str, set[str]],
) -> dict[str, set[str]]:
    """Return the changed variables that contain none of these ports.

    Without containers, the Compose file does not contain all of them, so their values count too.
    """

    def contains_port(variable: str) -> bool:
        values = (environment.get(variable, "") for environment in comparison.intended.values())
        numbers = re.findall(r"\d+", " ".join(values))
        return bool(
            references.get(variable, set()) & ports.keys() or {*ports.values()} & {*numbers}
        )

    return {name: services for name, services in changed.items() if not contains_port(name)}


def _changed_settings(
    changed: Mapping[str, set[str]], comparison: Comparison, references: Mapping[str, set[str]]
) -> list[str]:
    """Return the settings that explain the changed variables.

    If there are none, the compose file was edited: return the variables.
    """
    added = {v for v in changed if not any(v in comparison.current[name] for name in changed[v])}
    candidates = set[str]().union(*(references.get(v, set()) for v in changed.keys() - added))
    for variable in added:
        # A changed setting can add a compose file. The variables in that file are then new, but
        # the other settings that they are made of did not change.
        behind = references.get(variable, set())
        candidates |= set() if behind & candidates else behind
    same = set[str]().union(*comparison.intended.values()) - changed.keys()
    # A setting behind a variable that kept its value did not change.
    unchanged = {name for v in same for name in references.get(v, ())}
    return sorted(candidates - unchanged or candidates or changed)


def _data_key_edited(names: list[str], where: str) -> Problem:
    cause = f"The existing data does not fit the new {', '.join(names)} in .env. Do not apply it."
    fix = f"Put the previous {', '.join(names)} back in .env, for example from a backup of it."
    return Problem("data-key-edited", cause, fix, where)


def _key_added(comparison: Comparison, setting: str) -> bool:
    """Return whether only a Fernet key was added, which is safe and part of a rotation."""
    variable = SHARED[2][0]
    pairs = [
        (comparison.current[name].get(variable, ""), intended.get(variable, ""))
        for name, intended in comparison.intended.items()
    ]
    return setting == "AIRFLOW_FERNET_KEY" and all(
        {*current.split(",")} <= {*intended.split(",")} for current, intended in pairs
    )
