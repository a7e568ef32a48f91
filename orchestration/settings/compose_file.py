"""Read the Compose files without Docker: services' variables and the settings they depend on."""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import yaml

from orchestration.files import atomic_write
from orchestration.settings import airflow_variables, names
from orchestration.settings.model import Settings

REFERENCE = re.compile(r"\$\{(\w+)(?::?([-+?])([^}]*))?\}")


def variables(settings: Settings, service: str) -> dict[str, str]:
    """Return a service's environment variables as the Compose files set them."""
    merged: dict[str, Any] = {}
    for _, services in _files(settings):
        merged |= services.get(service, {}).get("environment", {})
    return {name: interpolate(str(value), settings.values) for name, value in merged.items()}


def references(settings: Settings) -> dict[str, set[str]]:
    """Return the settings on which each variable, user and published port depends.

    Everything in an optional Compose file also depends on the settings that add the file.
    """
    dependencies = {name: {name} for name in settings.values}
    for added_by, services in _files(settings):
        for body in services.values():
            texts = {**body.get("environment", {}), "user": body.get("user", "")}
            texts |= {f"port {port.rpartition(':')[2]}/tcp": port for port in body.get("ports", ())}
            for variable, text in texts.items():
                names = {match[1] for match in REFERENCE.finditer(str(text))}
                dependencies.setdefault(variable, set()).update(names, added_by)
    return {variable: names for variable, names in dependencies.items() if names}


def interpolate(text: str, values: Mapping[str, str]) -> str:
    """Expand `${NAME}`, `${NAME:-default}`, `${NAME:+instead}` and `${NAME:?message}`."""

    def expand(match: re.Match[str]) -> str:
        value, alternative = values.get(match[1]) or "", match[3] or ""
        if match[2] == "+":
            return value and alternative
        return value or (alternative if match[2] == "-" else "")

    return REFERENCE.sub(expand, text)


def write_airflow_variables(settings: Settings) -> None:
    """Write the Compose file of the user's Airflow variables, or remove it if there are none."""
    path = settings.root / "orchestration" / airflow_variables.FILE
    current = path.read_text("utf-8") if path.exists() else ""
    if not settings.airflow_variables:
        path.unlink(missing_ok=True)
    elif current != (text := _airflow_text(settings)):
        atomic_write(path, text, 0o644)


def _airflow_text(settings: Settings) -> str:
    """Return that file's text; services of the user's override file are included."""
    folder = settings.root / "orchestration"
    services = [*_services((folder / "docker-compose.yaml").read_text("utf-8"))]
    if override := names.override_file(folder):
        services += (yaml.safe_load(override.read_text("utf-8")) or {}).get("services") or {}
    return airflow_variables.compose_text(settings.values, dict.fromkeys(services))


def _files(settings: Settings) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Yield the settings that add each file, and its services."""
    for name, added_by in settings.compose_files.items():
        path = settings.root / "orchestration" / name
        is_ours = name == airflow_variables.FILE
        text = _airflow_text(settings) if is_ours else path.read_text("utf-8")
        yield added_by, _services(text)


@cache
def _services(text: str) -> dict[str, Any]:
    # `!reset` is a YAML tag of Compose that removes a value of an earlier file.
    services: dict[str, Any] = yaml.safe_load(text.replace("!reset ", ""))["services"]
    return services
