"""Containers that take the place of others; the worker's does when its tasks have ended."""

from typing import Any

from orchestration.engines.base import ONE_SHOTS, Service
from orchestration.engines.docker.project import ComposeProject
from orchestration.errors import StackError
from orchestration.process import runner
from orchestration.process.wait import wait_until

# The one-shots included; a start that hangs must not make its caller hang.
UP_SECONDS = 220
# For a task that still runs when its worker is replaced.
TASK_SECONDS = 24 * 3600
SCHEDULER, WORKER = "airflow-scheduler", "airflow-worker"
HEAL_OFF = ("sh", "-c", "mkdir -p /tmp/heal && touch /tmp/heal/off")


class Rollout:
    """How the docker engine puts a new container in the place of one that runs."""

    def __init__(self, project: ComposeProject) -> None:
        self.project = project

    def replace(self, service: str) -> None:
        """Replace one container; the worker's place is taken while it ends its tasks.

        Raises StackError when a one-shot fails.
        """
        if service == WORKER:
            self._relieve_worker()
        elif service in ONE_SHOTS:
            self._replace(service, "--force-recreate")
            self._await_one_shot(service)
        else:
            self._replace(service)

    def finish_tasks(self) -> None:
        """The scheduler stops; the queue is emptied, then the worker ends what it has in hand."""
        runner.run(self.project.compose("stop", SCHEDULER))
        while True:
            wait_until(lambda: not self._queued(), TASK_SECONDS, pause=1)
            for worker in self.project.containers(WORKER):
                self._let_end(worker)
            # What it had taken and not begun when it was told to end, it put back.
            if not self._queued():
                return
            runner.run(self.project.compose("start", WORKER))

    def _queued(self) -> int:
        asked = self.project.within("redis", ("redis-cli", "llen", "default"), "-T")
        return int(runner.run(asked, timeout=20).output.split()[-1])

    def _replace(self, service: str, *options: str) -> None:
        # Not `up`: it would run the one-shots again for each service, and with --no-deps make
        # containers that the next `up` takes for changed.
        runner.run(
            self.project.compose("create", "--no-build", *options, service), timeout=UP_SECONDS
        )
        for container in self.project.containers(service, all=True):
            if container.attrs["State"]["Status"] == "created":
                container.start()

    def _relieve_worker(self) -> None:
        # A second worker takes what comes from here on; the first ends what it has in hand.
        olds = self.project.containers(WORKER)
        beside = ("--no-recreate", f"--scale={WORKER}={len(olds) + 1}") if olds else ()
        self._replace(WORKER, *beside)
        for old in olds:
            self._let_end(old)
            old.remove()

    def _let_end(self, worker: Any) -> None:
        # One that only ends its tasks takes no new ones, which its check would call useless.
        # One that ended meanwhile cannot be told, and needs not be.
        runner.run(runner.Command(("docker", "exec", worker.id, *HEAL_OFF)), check=False)
        runner.run(runner.Command(("docker", "stop", f"--time={TASK_SECONDS}", worker.id)))

    def _await_one_shot(self, name: str) -> None:
        def ended() -> Service | None:
            (service,) = (service for service in self.project.ps() if service.name == name)
            return service if service.state == "exited" else None

        service = wait_until(ended, UP_SECONDS, pause=0.3)
        if not service or service.exit_code:
            raise StackError(f"{name} failed:\n{self.project.tail(name, 12)}", fix="inv up")
