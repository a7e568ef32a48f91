"""Run the stack with Docker Compose and read its state with the docker SDK."""

import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial

from orchestration.engines.base import IMAGES, PROXY, Build, Engine, Service, image_of
from orchestration.engines.docker import containers, daemon, public_images
from orchestration.engines.docker.candidate_images import CandidateImages
from orchestration.engines.docker.containers import SERVICE_LABEL
from orchestration.engines.docker.project import ERASE, WITH_PROXY, ComposeProject
from orchestration.engines.docker.rollout import UP_SECONDS, WORKER, Rollout
from orchestration.errors import Problem, StackError
from orchestration.host import clocks, file_modes, permissions
from orchestration.host.minimums import OLDEST_COMPOSE
from orchestration.host.resources import Host
from orchestration.process import runner
from orchestration.settings.model import Settings
from orchestration.tls.certificates import Files

# Runs a command with the user name and umask of the service itself.
ENTRYPOINT = ("airflow-entrypoint",)
WITH_DOCKER = "./install/1st_run_install.sh --with-docker"


class DockerEngine:
    """Compose v2 with the engine that the user's docker command talks to."""

    name = "docker"

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.project = ComposeProject(settings)
        self.candidates = CandidateImages(self.project)
        self.rollout = Rollout(self.project)

    def problems(self) -> list[Problem]:
        """Return why Docker cannot be used: no engine or another one, no access, no Compose v2."""
        problems = [daemon.engine_problem()]
        if problems[0] and problems[0].code == "engine-unsupported":
            # Compose of another engine would only add a second line about the same cause.
            return [problems[0]]
        try:
            command = self.project.compose("version", "--short")
            version = runner.run(command, timeout=20).output.strip()
            if daemon.is_older(version, OLDEST_COMPOSE):
                oldest = ".".join(map(str, OLDEST_COMPOSE))
                cause = f"Compose {version} is older than {oldest}."
                problems.append(Problem("engine-too-old", cause, WITH_DOCKER, "engine"))
        except StackError:
            cause = "Docker Compose v2 is not available."
            problems.append(Problem("compose-missing", cause, WITH_DOCKER, "engine"))
        return [*filter(None, problems)]

    def host(self) -> Host:
        """Return facts about the engine's machine and problems that prevent a build or start."""
        docker_info = daemon.info()
        problems = [permissions.uid_problem(self.settings)]
        index: tuple[str, float | None] = ("", None)
        if not problems[0] and daemon.same_uids(docker_info):
            problems += permissions.log_problems(self.settings)
            problems += file_modes.problems(self.settings)
        if not self.is_built():
            with ThreadPoolExecutor() as pool:
                clock = pool.submit(clocks.read_index_clock, self.settings)
                problems.append(public_images.base_problem(self.project.sdk, self.settings))
            index = clock.result()
        folders = (self.settings.root, *daemon.data_root(docker_info))
        return Host(tuple(filter(None, problems)), folders=folders, index=index[0],
                    index_ahead=index[1], **daemon.machine_facts(docker_info))  # fmt: skip

    def surviving_data(self) -> list[str]:
        """Return the volumes of this clone's project."""
        project = {"label": f"com.docker.compose.project={self.settings.project}"}
        return [volume.name for volume in self.project.sdk.volumes.list(filters=project)]

    def images(self) -> tuple[str, ...]:
        """Return the clone's own images, including the proxy's if TLS is on."""
        return (*IMAGES, PROXY) if self.settings.tls else IMAGES

    def is_built(self) -> bool:
        """Return whether the clone's own images, PostgreSQL's and Redis's are on this machine."""
        needed = [f"{self.settings.project}-{name}" for name in self.images()]
        needed += [self.settings["POSTGRES_IMAGE"], self.settings["REDIS_IMAGE"]]
        return not public_images.missing(self.project.sdk, needed)

    def build(self, images: Collection[str] = ()) -> None:
        """Pull or build public images, then build this clone's own. Cached steps take no time."""
        file_modes.open_files(self.settings)
        self.candidates.build(images or self.images())

    def package_errors(self, packages: Collection[str]) -> str:
        """Import Python packages in the newest Airflow image; return the errors, one per line."""
        return self.candidates.package_errors(packages)

    def import_errors(self) -> str:
        """Import every DAG in the newest Airflow image; return the errors, one per line."""
        return self.candidates.import_errors()

    def activate(self, images: Collection[str] = ()) -> None:
        """Create containers from the newest images from now on."""
        self.candidates.activate(images or self.images())

    def outdated(self, services: Collection[str]) -> list[str]:
        """Return the services with a container from another image than the active one, or none."""
        return [name for name in services if self._is_outdated(name)]

    def _is_outdated(self, service: str) -> bool:
        image = self.project.sdk.images.get(f"{self.settings.project}-{image_of(service)}")
        running = self.project.containers(service, all=True)
        return {container.attrs["Image"] for container in running} != {image.id}

    def prune(self) -> None:
        """Remove inactive and replaced images that no container runs from."""
        self.candidates.prune()

    def builds(self) -> list[Build]:
        """Return this clone's images. The build cache is not included: all projects share it."""
        return self.candidates.builds()

    def up(self, services: Sequence[str] = ()) -> None:
        """Run `docker compose up -d`, which returns once the init jobs have succeeded."""
        file_modes.open_files(self.settings)
        if not self.settings.tls and self.project.containers(PROXY, all=True):
            # Without TLS the services publish the proxy's ports themselves.
            runner.run(self.project.compose(*WITH_PROXY, "rm", "--stop", "--force", PROXY))
        start = self.project.compose("up", "-d", "--no-build", "--remove-orphans", *services)
        runner.run(start, timeout=UP_SECONDS)
        if self.settings.tls and not services:
            self._restart_outdated_proxy()

    def replace(self, service: str) -> None:
        """Replace one container, a worker after its tasks have finished.

        Raises StackError if an init job fails.
        """
        self.rollout.replace(service)

    def finish_tasks(self) -> None:
        """Stop the scheduler, wait until the queue is empty, then stop the worker gracefully."""
        self.rollout.finish_tasks()

    def restart(self, services: Sequence[str]) -> None:
        """Run `docker compose restart`, with the stop grace period of each service."""
        runner.run(self.project.compose("restart", *services))

    def stop(self, services: Sequence[str]) -> None:
        """Run `docker compose stop`."""
        runner.run(self.project.compose("stop", *services))

    def run(self, service: str, argv: Sequence[str]) -> int:
        """Run a command in a service's container, or in a new one if the service is down."""
        entrypoint = ENTRYPOINT if image_of(service) == "airflow" else ()
        terminal = () if runner.at_terminal() else ("-T",)
        return runner.attach(self.project.exec_or_run(service, (*entrypoint, *argv), *terminal))

    def command(self, service: str, argv: Sequence[str], *, fresh: bool = False) -> runner.Command:
        """Return the command of `run` without a terminal; `fresh` always uses a new container."""
        return self.project.exec_or_run(service, argv, "-T", fresh=fresh)

    def _restart_outdated_proxy(self) -> None:
        # nginx reads the certificate only when it starts.
        written = Files.for_clone(self.settings).certificate.stat().st_mtime
        for container in self.project.containers(PROXY):
            started = containers.to_service(container.attrs).since
            if started and started.timestamp() < written:
                self.restart([PROXY])

    def create_sandbox(self, other: Settings) -> Engine:
        """Tag this project's images for `other` and return its engine."""
        for name in IMAGES:
            self.project.sdk.images.get(f"{self.settings.project}-{name}").tag(
                f"{other.project}-{name}"
            )
        return DockerEngine(other)

    def remove_sandbox(self, other: Settings) -> None:
        """Remove the tags that `create_sandbox` added."""
        for name in IMAGES:
            self.project.sdk.images.remove(f"{other.project}-{name}")

    def down(self, *, volumes: bool, quietly: bool = False) -> None:
        """Run `docker compose down`, with `volumes` also removing the data."""
        show = runner.run if quietly else partial(runner.attach, check=True, echo=True)
        # Stop the worker first, so that its tasks can still report their end. With `depends_on`,
        # which would do the same, recreating the worker would also recreate its dependencies.
        show(self.project.compose("stop", WORKER))
        profile = () if self.settings.tls else WITH_PROXY
        data = ["--volumes"] if volumes else []
        show(self.project.compose(*profile, "down", "--remove-orphans", *data))
        # Compose does not remove networks that only a previous Compose file defined.
        project = f"label=com.docker.compose.project={self.settings.project}"
        runner.run(runner.Command(("docker", "network", "prune", "--force", "--filter", project)))

    def ps(self) -> list[Service]:
        """Return every service of the Compose file with the state of its container."""
        return self.project.ps()

    def memory(self) -> dict[str, int]:
        """Return the bytes that each running service uses, without page cache."""
        running = self.project.containers()
        with ThreadPoolExecutor(max_workers=8) as pool:
            used = pool.map(containers.memory, running)
            return dict(zip((c.labels[SERVICE_LABEL] for c in running), used, strict=True))

    def logs(self, services: Sequence[str], *, tail: int, since: str, follow: bool) -> int:
        """Run `docker compose logs` on the user's terminal, or print plain lines to a pipe."""
        options = [f"--tail={tail}", *(["--since", since] if since else [])]
        options += ["--follow"] if follow else []
        command = self.project.compose("logs", *options, *services)
        if sys.stdout.isatty():
            return runner.attach(command)
        try:
            return runner.run(
                command,
                check=False,
                on_line=lambda line: print(line.removeprefix(ERASE), flush=True),
            ).code
        except KeyboardInterrupt:
            return runner.INTERRUPTED

    def tail(self, service: str, lines: int, since: datetime | None = None) -> str:
        """Return the last log lines of one service, without Compose's prefixes."""
        return self.project.tail(service, lines, since)

    def environment(self, service: str) -> Mapping[str, str]:
        """Return the variables, user and published ports of a service's container."""
        running = self.project.containers(service)
        return containers.environment(running[0].attrs) if running else {}

    def intended_environment(self, service: str) -> Mapping[str, str]:
        """Return the same according to the Compose files and .env."""
        return containers.intended_environment(self.project.config["services"][service])

    def services(self) -> Iterator[str]:
        """Return the names of the services, in the order of the Compose file."""
        return self.project.services()
