"""The docker engine: every verb is one `docker compose` command; the SDK is used to look."""

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
from orchestration.host import clocks, permissions
from orchestration.host.minimums import OLDEST_COMPOSE
from orchestration.host.resources import Host
from orchestration.process import runner
from orchestration.settings.model import Settings
from orchestration.tls.certificates import Files

# Gives a command the name and the umask that the service itself has.
ENTRYPOINT = ("airflow-entrypoint",)
WITH_DOCKER = "./install/1st_run_install.sh --with-docker"


class DockerEngine:
    """Compose v2 against the engine that the person's docker command talks to."""

    name = "docker"

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.project = ComposeProject(settings)
        self.candidates = CandidateImages(self.project)
        self.rollout = Rollout(self.project)

    def problems(self) -> list[Problem]:
        """Return why Docker cannot work here: no engine, no rights on its socket, no Compose v2."""
        problems = [daemon.unreachable()]
        try:
            asked = self.project.compose("version", "--short")
            version = runner.run(asked, timeout=20).output.strip()
            if daemon.older(version, OLDEST_COMPOSE):
                oldest = ".".join(map(str, OLDEST_COMPOSE))
                cause = f"Compose {version} is older than {oldest}."
                problems.append(Problem("engine-too-old", cause, WITH_DOCKER, "engine"))
        except StackError:
            cause = "`docker compose` does not answer (Compose v2)."
            problems.append(Problem("compose-missing", cause, WITH_DOCKER, "engine"))
        return [*filter(None, problems)]

    def host(self) -> Host:
        """`docker info`, what mounted folders lack, and what a first build needs from outside."""
        told = daemon.info()
        problems = [permissions.uid_problem(self.settings)]
        index: tuple[str, float | None] = ("", None)
        if not problems[0] and daemon.same_users(told):
            problems += permissions.mount_problems(self.settings)
        if not self.is_built():
            with ThreadPoolExecutor() as pool:
                asked = pool.submit(clocks.ask_index, self.settings)
                problems.append(public_images.base_problem(self.project.sdk, self.settings))
            index = asked.result()
        places = (self.settings.root, *daemon.data_root(told))
        return Host(tuple(filter(None, problems)), places=places, index=index[0],
                    index_ahead=index[1], **daemon.figures(told))  # fmt: skip

    def surviving_data(self) -> list[str]:
        """Volumes of this clone's project."""
        project = {"label": f"com.docker.compose.project={self.settings.project}"}
        return [volume.name for volume in self.project.sdk.volumes.list(filters=project)]

    def images(self) -> tuple[str, ...]:
        """The clone's own, with the proxy's where TLS is on."""
        return (*IMAGES, PROXY) if self.settings.tls else IMAGES

    def is_built(self) -> bool:
        """The clone's own images and the two public ones are on this machine."""
        needed = [f"{self.settings.project}-{name}" for name in self.images()]
        needed += [self.settings["POSTGRES_IMAGE"], self.settings["REDIS_IMAGE"]]
        return not public_images.absent(self.project.sdk, needed)

    def build(self, images: Collection[str] = ()) -> None:
        """Public images pulled or made, then this clone's own; cached steps take no time."""
        self.candidates.build(images or self.images())

    def import_errors(self) -> str:
        """Import every DAG in the Airflow image that was built last."""
        return self.candidates.import_errors()

    def activate(self, images: Collection[str] = ()) -> None:
        """Containers are made from what was built from here on."""
        self.candidates.activate(images or self.images())

    def prune(self) -> None:
        """Remove images that were not adopted or were replaced."""
        self.candidates.prune()

    def builds(self) -> list[Build]:
        """Images of this clone, adopted or not; the build cache belongs to all projects."""
        return self.candidates.builds()

    def up(self, services: Sequence[str] = ()) -> None:
        """`docker compose up -d`: returns when the one-shots have ended well."""
        if not self.settings.tls and self.project.containers(PROXY, all=True):
            # It holds the ports that the pages publish themselves from here on.
            runner.run(self.project.compose(*WITH_PROXY, "rm", "--stop", "--force", PROXY))
        start = self.project.compose("up", "-d", "--no-build", "--remove-orphans", *services)
        runner.run(start, timeout=UP_SECONDS)
        if self.settings.tls and not services:
            self._show_new_certificate()

    def replace(self, service: str) -> None:
        """Replace one container; the worker's place is taken while it ends its tasks.

        Raises StackError when a one-shot fails.
        """
        self.rollout.replace(service)

    def finish_tasks(self) -> None:
        """The scheduler stops; the queue is emptied, then the worker ends what it has in hand."""
        self.rollout.finish_tasks()

    def restart(self, services: Sequence[str]) -> None:
        """`docker compose restart`, with each service's own time to end."""
        runner.run(self.project.compose("restart", *services))

    def stop(self, services: Sequence[str]) -> None:
        """`docker compose stop`."""
        runner.run(self.project.compose("stop", *services))

    def run(self, service: str, argv: Sequence[str]) -> int:
        """`docker compose exec` in its container, or `run` in one of its own where it is down."""
        named = ENTRYPOINT if image_of(service) == "airflow" else ()
        terminal = () if runner.at_terminal() else ("-T",)
        return runner.attach(self.project.within(service, (*named, *argv), *terminal))

    def command(self, service: str, argv: Sequence[str], *, anew: bool = False) -> runner.Command:
        """The same without a terminal; `anew`: always in one of its own."""
        return self.project.within(service, argv, "-T", anew=anew)

    def _show_new_certificate(self) -> None:
        # nginx reads it once, when it starts.
        written = Files.of(self.settings).certificate.stat().st_mtime
        for container in self.project.containers(PROXY):
            started = containers.service(container.attrs).since
            if started and started.timestamp() < written:
                self.restart([PROXY])

    def create_sandbox(self, other: Settings) -> Engine:
        """An engine for `other`, whose images are these."""
        for name in IMAGES:
            self.project.sdk.images.get(f"{self.settings.project}-{name}").tag(
                f"{other.project}-{name}"
            )
        return DockerEngine(other)

    def remove_sandbox(self, other: Settings) -> None:
        """Remove the other's names for these images."""
        for name in IMAGES:
            self.project.sdk.images.remove(f"{other.project}-{name}")

    def down(self, *, volumes: bool, quietly: bool = False) -> None:
        """`docker compose down`: containers and network; with `volumes` the data too."""
        show = runner.run if quietly else partial(runner.attach, check=True, echo=True)
        # First: its tasks end, and what they tell that to is still there. Not said in the compose
        # file: whatever a service depends on is recreated with it.
        show(self.project.compose("stop", WORKER))
        profile = () if self.settings.tls else WITH_PROXY
        data = ["--volumes"] if volumes else []
        show(self.project.compose(*profile, "down", "--remove-orphans", *data))
        # Compose removes the networks that its file names, not those of a former one.
        ours = f"label=com.docker.compose.project={self.settings.project}"
        runner.run(runner.Command(("docker", "network", "prune", "--force", "--filter", ours)))

    def ps(self) -> list[Service]:
        """Return every service of the compose file with the state of its container."""
        return self.project.ps()

    def memory(self) -> dict[str, int]:
        """Bytes each running service holds, page cache left out, asked side by side."""
        found = self.project.containers()
        with ThreadPoolExecutor(max_workers=8) as pool:
            held = pool.map(containers.memory, found)
            return dict(zip((c.labels[SERVICE_LABEL] for c in found), held, strict=True))

    def logs(self, services: Sequence[str], *, tail: int, since: str, follow: bool) -> int:
        """`docker compose logs` on the person's terminal, or as plain lines for a pipe."""
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
        """The last log lines of one service, without Compose's prefixes."""
        return self.project.tail(service, lines, since)

    def environment(self, service: str) -> Mapping[str, str]:
        """Its container's variables, user and published ports."""
        running = self.project.containers(service)
        return containers.started_with(running[0].attrs) if running else {}

    def intended(self, service: str) -> Mapping[str, str]:
        """The same by the compose file, its override and .env."""
        return containers.intended(self.project.config["services"][service])

    def services(self) -> Iterator[str]:
        """The names in the compose file, in its order."""
        return self.project.services()
