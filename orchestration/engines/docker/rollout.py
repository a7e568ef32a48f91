"""Replace containers. A worker finishes its tasks before it is removed."""

from typing import Any

from orchestration.engines.base import INIT_JOBS, RECOVERY_SECONDS, Service
from orchestration.engines.docker.project import ComposeProject
from orchestration.errors import StackError
from orchestration.process import runner
from orchestration.process.wait import wait_until

# Includes the init jobs. Limits how long a start that hangs blocks its caller.
UP_SECONDS = 220 + RECOVERY_SECONDS
# How long a task may still run when its worker is replaced.
TASK_SECONDS = 24 * 3600
SCHEDULER, WORKER = "airflow-scheduler", "airflow-worker"
# A worker does the same when it stops, unless it was started by an older version (worker_state.py).
MARK_STOPPING = ("touch", "/tmp/worker-stopping")


class Rollout:
    """Replace the containers of a project."""

    def __init__(self, project: ComposeProject) -> None:
        self.project = project

    def replace(self, service: str) -> None:
        """Replace one container, a worker after its tasks have finished.

        Raises StackError if an init job fails.
        """
        if service == WORKER:
            self._replace_worker()
        elif service in INIT_JOBS:
            self._replace(service, "--force-recreate")
            self._wait_for_init_job(service)
        else:
            self._replace(service)

    def finish_tasks(self) -> None:
        """Stop the scheduler, wait until the queue is empty, then stop the worker gracefully."""
        runner.run(self.project.compose("stop", SCHEDULER))
        while True:
            wait_until(lambda: not self._queued(), TASK_SECONDS, pause=1)
            for worker in self.project.containers(WORKER):
                self._stop_worker(worker)
            # A stopping worker returns reserved tasks that it had not started to the queue.
            if not self._queued():
                return
            runner.run(self.project.compose("start", WORKER))

    def _queued(self) -> int:
        command = self.project.exec_or_run("redis", ("redis-cli", "llen", "default"), "-T")
        return int(runner.run(command, timeout=20).output.split()[-1])

    def _replace(self, service: str, *options: str) -> None:
        # `up` would run the init jobs again for each service. With --no-deps it would create
        # containers that the next `up` considers changed.
        runner.run(
            self.project.compose("create", "--no-build", *options, service), timeout=UP_SECONDS
        )
        for container in self.project.containers(service, all=True):
            if container.attrs["State"]["Status"] == "created":
                container.start()

    def _replace_worker(self) -> None:
        # A second worker takes new tasks while the first finishes its own.
        current = self.project.containers(WORKER)
        options = ("--no-recreate", f"--scale={WORKER}={len(current) + 1}") if current else ()
        self._replace(WORKER, *options)
        for worker in current:
            self._stop_worker(worker)
            worker.remove()

    def _stop_worker(self, worker: Any) -> None:
        # The health check kills a worker that takes no new tasks, unless it is stopping.
        # This fails if the worker has already exited, which does no harm.
        runner.run(runner.Command(("docker", "exec", worker.id, *MARK_STOPPING)), check=False)
        runner.run(runner.Command(("docker", "stop", f"--time={TASK_SECONDS}", worker.id)))

    def _wait_for_init_job(self, name: str) -> None:
        def exited_job() -> Service | None:
            (service,) = (service for service in self.project.ps() if service.name == name)
            return service if service.state == "exited" else None

        service = wait_until(exited_job, UP_SECONDS, pause=0.3)
        if not service or service.exit_code:
            raise StackError(f"{name} failed:\n{self.project.tail(name, 12)}", fix="inv up")
