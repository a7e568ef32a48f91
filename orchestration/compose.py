"""The docker engine: every verb is one `docker compose` command; the SDK is used to look."""

import json
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import cached_property
from typing import Any

from orchestration import StackError, images, shell
from orchestration.engine import Service
from orchestration.settings import Settings

OLDEST_COMPOSE = (2, 20)
# The one-shots included; a start that hangs must not make its caller hang.
UP_SECONDS = 220
WITH_DOCKER = "./install/1st_run_install.sh --with-docker"


class DockerEngine:
    """Compose v2 against the engine that the person's docker command talks to."""

    name = "docker"

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @cached_property
    def sdk(self) -> Any:
        """The docker SDK's client, for looking; imported late, it costs 0.3 s."""
        return images.client()

    def compose(self, *arguments: str) -> shell.Command:
        """One `docker compose` command on this clone's project."""
        folder = self.settings.root / "orchestration"
        argv = ("docker", "compose", *arguments)
        environment = {**self.settings.compose_environment(), "DOCKER_BUILDKIT": "1"}
        return shell.Command(argv, env=environment, cwd=folder)

    def problems(self) -> list[str]:
        """Why Docker cannot work here: no engine, no rights on its socket, no Compose v2."""
        wrong = [images.unreachable()]
        try:
            version = shell.output(self.compose("version", "--short"), timeout=20).strip()
            if _version(version) < OLDEST_COMPOSE:
                wrong.append(f"Compose {version} is older than 2.20: {WITH_DOCKER}")
        except StackError:
            wrong.append(f"`docker compose` does not answer (Compose v2): {WITH_DOCKER}")
        return [problem for problem in wrong if problem]

    def surviving_data(self) -> list[str]:
        """Volumes of this clone's project."""
        project = {"label": f"com.docker.compose.project={self.settings.project}"}
        return [volume.name for volume in self.sdk.volumes.list(filters=project)]

    def is_built(self) -> bool:
        """The clone's own images and the two public ones are on this machine."""
        needed = [f"{self.settings.project}-{name}" for name in ("airflow", "mlflow", "status")]
        needed += [self.settings["POSTGRES_IMAGE"], self.settings["REDIS_IMAGE"]]
        return not images.absent(self.sdk, needed)

    def build(self) -> None:
        """Public images pulled or made, then this clone's own; cached steps take no time."""
        images.provide(self.sdk, self.settings)
        shell.echo(self.compose("build"))

    def up(self) -> None:
        """`docker compose up -d`: returns when the one-shots have ended well."""
        start = self.compose("up", "-d", "--no-build", "--remove-orphans")
        shell.output(start, timeout=UP_SECONDS)

    def down(self, *, volumes: bool) -> None:
        """`docker compose down`: containers and network; with `volumes` the data too."""
        shell.echo(self.compose("down", "--remove-orphans", *(["--volumes"] if volumes else [])))

    def ps(self) -> list[Service]:
        """Every service of the compose file with what the engine knows of its container."""
        found = {
            service.name: service
            for service in (_service(container.attrs) for container in self._containers(all=True))
        }
        return [found.get(name, Service(name, "absent")) for name in self.services()]

    def memory(self) -> dict[str, int]:
        """Bytes each running service holds, page cache left out, asked side by side."""
        with ThreadPoolExecutor(max_workers=8) as pool:
            return dict(pool.map(_memory, self._containers()))

    def _containers(self, **options: Any) -> list[Any]:
        # While `up` replaces a container it may be gone between its listing and a closer look.
        labels = [
            f"com.docker.compose.project={self.settings.project}",
            # A container of `docker compose run` carries its service's name too.
            "com.docker.compose.oneoff=False",
        ]
        found = {"filters": {"label": labels}, "ignore_removed": True, **options}
        return self.sdk.containers.list(**found)

    def logs(self, services: Sequence[str], *, tail: int, since: str, follow: bool) -> int:
        """`docker compose logs` on the person's terminal."""
        options = [f"--tail={tail}", *(["--since", since] if since else [])]
        options += ["--follow"] if follow else []
        return shell.show(self.compose("logs", *options, *services))

    def tail(self, service: str, lines: int) -> str:
        """The last log lines of one service, without Compose's prefixes."""
        options = ("logs", f"--tail={lines}", "--no-log-prefix", "--no-color", service)
        return shell.output(self.compose(*options), timeout=20).strip()

    def services(self) -> Iterator[str]:
        """The names in the compose file, in its order."""
        return iter(self._services)

    @cached_property
    def _services(self) -> list[str]:
        text = shell.output(self.compose("config", "--format", "json"), timeout=20)
        return list(json.loads(text)["services"])


def _version(text: str) -> tuple[int, ...]:
    # A development build names no number: taken for new enough.
    found = re.match(r"v?(\d+)\.(\d+)", text)
    return tuple(map(int, found.groups())) if found else OLDEST_COMPOSE


def _service(attributes: dict[str, Any]) -> Service:
    state = attributes["State"]
    return Service(
        name=attributes["Config"]["Labels"]["com.docker.compose.service"],
        state=state["Status"],
        health=state.get("Health", {}).get("Status", ""),
        since=_moment(state["StartedAt"]),
        restarts=attributes["RestartCount"],
        exit_code=state["ExitCode"],
    )


def _moment(text: str) -> datetime | None:
    # Nanoseconds are more than datetime reads; the year 1 is Docker's "never".
    return None if text.startswith("0001") else datetime.fromisoformat(f"{text[:19]}+00:00")


def _memory(container: Any) -> tuple[str, int]:
    import docker

    service = container.labels["com.docker.compose.service"]
    try:
        usage = container.stats(stream=False, one_shot=True).get("memory_stats", {})
    except docker.errors.APIError:
        return service, 0
    cache = usage.get("stats", {})
    reclaimable = cache.get("total_inactive_file", cache.get("inactive_file", 0))
    return service, usage.get("usage", 0) - reclaimable
