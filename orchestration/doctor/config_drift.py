"""Whether what runs was started with one set of settings, and with those that .env holds now.

Values are compared and never told.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from orchestration.engines.base import Runtime, image_of
from orchestration.errors import Problem
from orchestration.settings import compose_file
from orchestration.settings.model import Settings

OVERRIDE = "orchestration/docker-compose.override.yaml"
EXECUTION_URL = "AIRFLOW__CORE__EXECUTION_API_SERVER_URL"
# What Airflow's services must share: variable, name of the finding, what goes wrong.
SHARED = (
    ("AIRFLOW__API_AUTH__JWT_SECRET", "jwt-secret-differs", "tokens of tasks are rejected"),
    (
        "AIRFLOW__WEBSERVER__SECRET_KEY",
        "web-secret-differs",
        "logs of running tasks cannot be read",
    ),
    ("AIRFLOW__CORE__FERNET_KEY", "fernet-key-differs", "connections cannot be decrypted"),
)
# Another value of these does not fit the data that is there.
OF_THE_DATA = (
    "AIRFLOW_FERNET_KEY", "POSTGRES_PASSWORD", "AIRFLOW_DB_PASSWORD", "MLFLOW_DB_PASSWORD",
)  # fmt: skip
Environments = Mapping[str, Mapping[str, str]]


@dataclass
class Compared:
    """What each running service was started with, and what it would be started with now."""

    held: Environments
    meant: Environments
    # Variables that a finding of their own tells of.
    told: set[str] = field(default_factory=set)

    def changed(self) -> dict[str, set[str]]:
        """Each variable that is another one now, and the services that hold it."""
        found: dict[str, set[str]] = {}
        for service, meant in self.meant.items():
            for variable in meant.keys() - self.told:
                if self.held[service].get(variable) != meant[variable]:
                    found.setdefault(variable, set()).add(service)
        return found


def findings(settings: Settings, engine: Runtime, running: Iterable[str]) -> Iterator[Problem]:
    """What differs between running services, and between them and .env."""
    started = {name: engine.environment(name) for name in running}
    held = {name: environment for name, environment in started.items() if environment}
    if not held:
        return
    compared = Compared(held, {name: engine.intended(name) for name in held})
    for variable, name, harm in SHARED:
        yield from _shared(compared, variable, name, harm)
    home = held.get("status") or engine.intended("status")
    yield from _execution_url(compared, home.get("AIRFLOW_URL", ""))
    yield from _not_applied(compared, compose_file.references(settings))


def _shared(compared: Compared, variable: str, name: str, harm: str) -> Iterator[Problem]:
    values = _of_airflow(compared.held, variable, compared.meant)
    if len(set(values.values())) < 2:
        return
    meant = Counter(_of_airflow(compared.meant, variable, compared.meant).values())
    right = meant.most_common(1)[0][0]
    odd = ", ".join(sorted(service for service, value in values.items() if value != right))
    compared.told.add(variable)
    cause = f"{variable} differs between Airflow's services, so {harm}."
    yield Problem(name, cause, _mend(variable, applied=len(meant) > 1), odd)


def _execution_url(compared: Compared, airflow: str) -> Iterator[Problem]:
    right = f"{airflow}/execution/"
    for service, value in _of_airflow(compared.held, EXECUTION_URL, compared.meant).items():
        if airflow and value != right:
            compared.told.add(EXECUTION_URL)
            cause = (
                "Its tasks look for the execution API at an address where the api-server is not."
            )
            fix = _mend(EXECUTION_URL, applied=compared.meant[service][EXECUTION_URL] != right)
            yield Problem("execution-api-url", cause, fix, service)


def _of_airflow(wanted: Environments, variable: str, meant: Environments) -> dict[str, str]:
    """The variable's value in each of Airflow's services that is meant to have one."""
    named = [name for name in meant if image_of(name) == "airflow" and variable in meant[name]]
    return {name: wanted[name].get(variable, "") for name in named}


def _mend(variable: str, *, applied: bool) -> str:
    return f"Remove {variable} from {OVERRIDE}, then run: inv up" if applied else "inv up"


def _not_applied(compared: Compared, behind: Mapping[str, set[str]]) -> Iterator[Problem]:
    changed = compared.changed()
    if not changed:
        return
    names = _names(changed, compared, behind)
    where = ", ".join(sorted(set[str]().union(*changed.values())))
    keys = [name for name in names if name in OF_THE_DATA and not _only_added(compared, name)]
    if keys:
        yield _other_keys(keys, where)
    if others := [name for name in names if name not in keys]:
        cause = f"The running services do not use the current value of: {', '.join(others)}."
        yield Problem("settings-not-applied", cause, "inv up", where)


def _names(
    changed: Mapping[str, set[str]], compared: Compared, behind: Mapping[str, set[str]]
) -> list[str]:
    """The settings that must have changed; without one it was the compose file: its variables."""
    added = {v for v in changed if not any(v in compared.held[name] for name in changed[v])}
    suspected = set[str]().union(*(behind.get(v, set()) for v in changed.keys() - added))
    for variable in added:
        # Where a setting has another file read, what stands in that is new and did not change.
        known = behind.get(variable, set())
        suspected |= set() if known & suspected else known
    same = set[str]().union(*compared.meant.values()) - changed.keys()
    # What stands behind a variable that is as it was did not change.
    innocent = {name for v in same for name in behind.get(v, ())}
    return sorted(suspected - innocent or suspected or changed)


def _other_keys(names: list[str], where: str) -> Problem:
    cause = f"The existing data does not fit the new {', '.join(names)} in .env. Do not apply it."
    fix = f"Put the previous {', '.join(names)} back in .env, for example from a backup of it."
    return Problem("data-key-edited", cause, fix, where)


def _only_added(compared: Compared, setting: str) -> bool:
    """A Fernet key that was put before the one in use, which stays: as keys are changed."""
    variable = SHARED[2][0]
    pairs = [
        (compared.held[name].get(variable, ""), meant.get(variable, ""))
        for name, meant in compared.meant.items()
    ]
    return setting == "AIRFLOW_FERNET_KEY" and all(
        {*held.split(",")} <= {*meant.split(",")} for held, meant in pairs
    )
