"""A Compose project: its `docker compose` commands, its configuration and its containers."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from orchestration.engines.base import Service
from orchestration.engines.docker import containers, daemon
from orchestration.process import runner
from orchestration.settings import compose_file
from orchestration.settings.model import Settings
from orchestration.settings.names import override_file

# Compose 2.26 prints this before each log line, even if the output is not a terminal.
ERASE = "\x1b[2K"
WITH_PROXY = ("--profile", "tls")


class ComposeProject:
    """The Compose project of one clone: `docker compose` runs it, the docker SDK reads it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.folder = settings.root / "orchestration"

    @cached_property
    def sdk(self) -> Any:
        """The docker SDK's client, created on first use because the import takes 0.3 s."""
        return daemon.client()

    def compose(self, *arguments: str, project: str = "") -> runner.Command:
        """Return a `docker compose` command for this project, or for the one named `project`."""
        argv = ("docker", "compose", *self._files(), *arguments)
        environment = {**self.settings.compose_environment(), "DOCKER_BUILDKIT": "1"}
        environment["COMPOSE_PROJECT_NAME"] = project or self.settings.project
        environment["CLIENT_NO_PROXY"] = _client_no_proxy(environment)
        return runner.Command(argv, env=environment, cwd=self.folder)

    def _files(self) -> tuple[str, ...]:
        """Return `-f` options if there are several files. With one, Compose finds overrides."""
        compose_file.write_airflow_variables(self.settings)
        files = [*self.settings.compose_files]
        if len(files) == 1:
            return ()
        override = override_file(self.folder)
        files += [override.name] if override else []
        options = (option for file in files for option in ("-f", file))
        return (*options, *(WITH_PROXY if self.settings.tls else ()))

    def exec_or_run(
        self, service: str, argv: Sequence[str], *options: str, fresh: bool = False
    ) -> runner.Command:
        """Return a command in a service's container, or in a new one if it is down or `fresh`."""
        reuse = not fresh and any(s.state == "running" for s in self.ps() if s.name == service)
        command = ("exec",) if reuse else ("run", "--rm", "--no-deps", "--quiet-pull")
        return self.compose(*command, *options, service, *argv)

    def containers(self, service: str = "", **options: Any) -> list[Any]:
        """Return the containers of the project or one service: the running ones, or `all=True`."""
        return containers.list_containers(self.sdk, self.settings.project, service, **options)

    def ps(self) -> list[Service]:
        """Return every service of the Compose file with the state of its container."""
        existing = {
            service.name: service
            for service in (containers.to_service(c.attrs) for c in self.containers(all=True))
        }
        return [existing.get(name, Service(name, "absent")) for name in self.services()]

    def tail(self, service: str, lines: int, since: datetime | None = None) -> str:
        """Return the last log lines of one service, without Compose's prefixes."""
        options = [f"--tail={lines}", *([f"--since={since:%Y-%m-%dT%H:%M:%SZ}"] if since else [])]
        command = self.compose("logs", *options, "--no-log-prefix", "--no-color", service)
        return runner.run(command, timeout=20).output.replace(ERASE, "").strip()

    def services(self) -> Iterator[str]:
        """Return the names of the services, in the order of the Compose file."""
        return iter(self.config["services"])

    @cached_property
    def config(self) -> dict[str, Any]:
        """The resolved configuration, as printed by `docker compose config`."""
        output = runner.run(self.compose("config", "--format", "json"), timeout=20).output
        # Compose doubles every $, so that its output is a valid Compose file.
        config: dict[str, Any] = json.loads(output.replace("$$", "$"))
        return config


def _client_no_proxy(environment: Mapping[str, str]) -> str:
    """Return the hosts that the configuration of Docker's client excludes from its proxy."""
    folder = environment.get("DOCKER_CONFIG") or f"{environment.get('HOME', '')}/.docker"
    with suppress(OSError, ValueError):
        configuration = json.loads(Path(folder, "config.json").read_text("utf-8"))
        return ",".join(one.get("noProxy", "") for one in configuration.get("proxies", {}).values())
    return ""
