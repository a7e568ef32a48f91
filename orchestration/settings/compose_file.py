"""The compose files read without Docker: variables of services, and the settings behind them."""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import yaml

from orchestration.settings.model import Settings

REFERENCE = re.compile(r"\$\{(\w+)(?::?([-+?])([^}]*))?\}")


def variables(settings: Settings, service: str) -> dict[str, str]:
    """Return a service's environment as the compose files set it."""
    found: dict[str, Any] = {}
    for _, services in _files(settings):
        found |= services.get(service, {}).get("environment", {})
    return {name: interpolate(str(value), settings.values) for name, value in found.items()}


def references(settings: Settings) -> dict[str, set[str]]:
    """Return the settings behind each variable, user and published port of the services.

    Settings that add a compose file are behind everything in that file.
    """
    found = {name: {name} for name in settings.values}
    for added_by, services in _files(settings):
        for body in services.values():
            texts = {**body.get("environment", {}), "user": body.get("user", "")}
            texts |= {f"port {port.rpartition(':')[2]}/tcp": port for port in body.get("ports", ())}
            for variable, text in texts.items():
                names = {match[1] for match in REFERENCE.finditer(str(text))}
                found.setdefault(variable, set()).update(names, added_by)
    return {variable: names for variable, names in found.items() if names}


def interpolate(text: str, values: Mapping[str, str]) -> str:
    """Expand `${NAME}`, `${NAME:-default}`, `${NAME:+instead}` and `${NAME:?message}`."""

    def value(found: re.Match[str]) -> str:
        given, otherwise = values.get(found[1]) or "", found[3] or ""
        if found[2] == "+":
            return given and otherwise
        return given or (otherwise if found[2] == "-" else "")

    return REFERENCE.sub(value, text)


def _files(settings: Settings) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Give the settings that add each file, and its services."""
    for name, added_by in settings.compose_files.items():
        yield added_by, _services((settings.root / "orchestration" / name).read_text("utf-8"))


@cache
def _services(text: str) -> dict[str, Any]:
    # `!reset` is Compose's own tag: it takes back what an earlier file sets.
    services: dict[str, Any] = yaml.safe_load(text.replace("!reset ", ""))["services"]
    return services
