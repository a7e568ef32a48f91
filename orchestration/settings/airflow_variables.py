"""Options, connections and variables of Airflow that users add to .env.

Airflow reads them from the environment of its services: AIRFLOW__SECTION__KEY, AIRFLOW_CONN_ID and
AIRFLOW_VAR_KEY. An additional Compose file passes each one on by name, so that values are in .env
only. Options that the stack sets itself are refused.
"""

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

OPTION = re.compile("AIRFLOW__[A-Z0-9][A-Z0-9_]*?__[A-Z0-9][A-Z0-9_]*")
ENTRY = re.compile("(AIRFLOW_CONN|AIRFLOW_VAR|DATASET_URI)_[A-Z0-9_]+")
PREFIXES = ("AIRFLOW__", "AIRFLOW_CONN_", "AIRFLOW_VAR_", "DATASET_URI_")
# Every option of Airflow and its installed providers, written by checks/airflow_options.py.
OPTIONS = Path(__file__).with_name("airflow_options.txt")
# Airflow passes every key of this section on to Celery.
ANY_KEY = "AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__"
# Written next to the other Compose files. It contains names and no values.
FILE = "docker-compose.airflow.yaml"
# Airflow also reads the value of an option from the output of a command, or from a secrets backend.
INDIRECT = re.compile("_(CMD|SECRET)$")
REFERENCE = re.compile(r"\$\{(\w+)")
# Where containers mount folders and publish ports; other values would leave the stack's folders.
PLACES = {
    "AIRFLOW__CORE__DAGS_FOLDER": "AIRFLOW_PROJ_DIR",
    "AIRFLOW__CORE__PLUGINS_FOLDER": "AIRFLOW_PROJ_DIR",
    "AIRFLOW__LOGGING__BASE_LOG_FOLDER": "AIRFLOW_PROJ_DIR",
    "AIRFLOW__API__HOST": "BIND_ADDRESS",
    "AIRFLOW__API__PORT": "AIRFLOW_PORT",
}
ASSIGNED = re.compile(r"\s+(AIRFLOW_\w+): (.*)")


def names(values: Iterable[str]) -> tuple[str, ...]:
    """Return the names among `values` that Airflow's services read, in order."""
    return tuple(name for name in values if OPTION.fullmatch(name) or ENTRY.fullmatch(name))


def for_service(values: Iterable[str], service: str) -> tuple[str, ...]:
    """Return the names that a service gets: only Airflow's, and init jobs no connections."""
    if not service.startswith("airflow-"):
        return ()
    wanted = names(values)
    if service == "airflow-init":
        return tuple(name for name in wanted if OPTION.fullmatch(name))
    return wanted


def compose_text(values: Iterable[str], services: Iterable[str]) -> str:
    """Return the Compose file that passes these variables of .env to Airflow's services."""
    values = list(values)
    passed = {
        service: {"environment": {name: f"${{{name}}}" for name in variables}}
        for service in services
        if (variables := for_service(values, service))
    }
    return f"# Written by `inv`. Names only; the values are in .env.\n{_json(passed)}\n"


def _json(services: Mapping[str, Any]) -> str:
    # YAML is a superset of JSON.
    return json.dumps({"services": services}, indent=2)


def refusal(name: str, folder: Path) -> str:
    """Return why an AIRFLOW_… line of .env has no effect or must not have one, or "".

    `folder` is the one with the Compose files.
    """
    if not names([name]):
        if names([name.upper()]):
            return f"Airflow reads names in capital letters only: write {name.upper()}"
        return "write AIRFLOW__SECTION__KEY, AIRFLOW_CONN_ID or AIRFLOW_VAR_KEY"
    owned = _owned(folder)
    option = name if name in owned else INDIRECT.sub("", name)
    if option in owned:
        return f"the stack sets it{owned[option]}"
    return _unknown_option(option)


def _unknown_option(name: str) -> str:
    """Return that Airflow has no such option, or "". A section of its own can be a plugin's."""
    known = OPTIONS.read_text("utf-8").split()
    if name in known or name.startswith(ANY_KEY) or not OPTION.fullmatch(name):
        return ""
    similar = difflib.get_close_matches(name, known, n=1, cutoff=0.85)
    if similar:
        return f"Airflow has no such option. Did you mean {similar[0]}?"
    section = f"{name.rsplit('__', 1)[0]}__"
    return "Airflow has no such option" if any(one.startswith(section) for one in known) else ""


def _owned(folder: Path) -> dict[str, str]:
    """Return the variables that the stack sets itself, each with from what or why."""
    texts = (path.read_text("utf-8") for path in sorted(folder.glob("docker-compose*.yaml"))
             if path.name != FILE and ".override." not in path.name)  # fmt: skip
    owned = {name: _origin([setting]) for name, setting in PLACES.items()}
    for text in texts:
        owned |= {name: reason for name, reason in _assignments(text)}
    return owned


@cache
def _assignments(text: str) -> tuple[tuple[str, str], ...]:
    return tuple(_reasons(text))


def _reasons(text: str) -> Iterator[tuple[str, str]]:
    """Yield each AIRFLOW_… variable of a Compose file with its settings, or value and comment."""
    comment: list[str] = []
    for line in text.splitlines():
        if line.strip().startswith("#"):
            comment.append(line.strip("# "))
        elif match := ASSIGNED.fullmatch(line):
            settings = REFERENCE.findall(match[2])
            value = yaml.safe_load(match[2])
            why = f". {' '.join(comment)}" if comment else ""
            yield match[1], _origin(settings) if settings else f" to {value}{why.rstrip('.')}"
            comment = []
        else:
            comment = []


def _origin(settings: Iterable[str]) -> str:
    return f" from {' and '.join(dict.fromkeys(settings))}: change that instead"
