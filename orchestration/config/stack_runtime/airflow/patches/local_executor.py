"""Run each task of the standalone engine in a process of its own, at most WORKER_CONCURRENCY.

LocalExecutor of 3.0.1 sends tasks to a pool of processes through a pipe. A new process starts only
if more tasks wait than processes exist. Tasks are sent without a limit, and a full pipe blocks the
scheduler. A killed process of the pool can block the others.
"""

import multiprocessing
import signal
from typing import Any

from stack_runtime.airflow.patches import wake_ups
from stack_runtime.shared.patch_registry import Kind, Patch

MODULE = "airflow.executors.local_executor"
CORE = "apache-airflow-core"


class OwnProcesses:
    """The methods of an executor that runs each task in a process of its own.

    A task holds its slot until its process has exited. The exit code is the result: like Airflow's
    pool, it says only whether the state of the task was reported to the API server.
    """

    execute: Any
    states: Any

    def start(self: Any) -> None:
        # Imported once here, and not by each task.
        from stack_runtime.airflow import preload

        preload.freeze_objects()
        self.processes: dict[Any, Any] = {}

    def queue_workload(self: Any, workload: Any, session: Any = None) -> None:
        # The scheduler commits this state before it calls `trigger_tasks`.
        self.queued_tasks[workload.ti.key] = workload

    def trigger_tasks(self: Any, open_slots: int) -> None:
        # Not `open_slots`, as a task that was declared dead still has its process.
        free = self.parallelism - len(self.processes)
        for key, workload in self.order_queued_tasks_by_priority():
            # A rescheduled task may be due before its process has exited.
            if free > 0 and key not in self.processes:
                free -= 1
                del self.queued_tasks[key]
                self.processes[key] = self.fork(workload)
                self.running.add(key)

    def fork(self: Any, workload: Any) -> Any:
        arguments = (self.execute, self.log, workload)
        process = multiprocessing.get_context("fork").Process(target=supervise, args=arguments)
        process.start()
        wake_ups.WATCHED.add(process.sentinel)
        return process

    def sync(self: Any) -> None:
        for key, process in list(self.processes.items()):
            if not process.is_alive():
                code = self.processes.pop(key).exitcode
                if code:
                    info = f"its process exited with code {code}"
                    self.change_state(key, self.states.FAILED, info)
                else:
                    self.change_state(key, self.states.SUCCESS)
                wake_ups.WATCHED.discard(process.sentinel)
                process.close()

    def revoke_task(self: Any, *, ti: Any) -> None:
        self.queued_tasks.pop(ti.key, None)

    def try_adopt_task_instances(self: Any, tis: Any) -> list[Any]:
        # A scheduler that was late for its heartbeat counts itself as dead.
        return [ti for ti in tis if not self.has_task(ti)]

    def end(self: Any) -> None:
        self.log.info("Waiting for %d running tasks.", len(self.processes))
        for process in self.processes.values():
            process.join()
        self.sync()


def supervise(execute: Any, log: Any, workload: Any) -> None:
    """Run a task in this process; the signals that stop the scheduler let its tasks finish."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    execute(log, workload)


def run_in_own_processes(module: Any) -> None:
    """Replace the pool of LocalExecutor by a process for each task."""
    if issubclass(module.LocalExecutor, OwnProcesses):
        return

    class LocalExecutor(OwnProcesses, module.LocalExecutor):  # type: ignore[misc]
        execute, states = staticmethod(module._execute_work), module.TaskInstanceState

    module.LocalExecutor = LocalExecutor


def ignore_stale_ends(module: Any) -> None:
    """Do not treat a task as killed if its end was reported and it is due again."""
    states = module.TaskInstanceState

    class LocalExecutor(module.LocalExecutor):  # type: ignore[misc]
        reported: frozenset[Any] = frozenset()

        def get_event_buffer(self, dag_ids: Any = None) -> dict[Any, Any]:
            events: dict[Any, Any] = super().get_event_buffer(dag_ids)
            self.reported = frozenset(
                key for key, (state, _) in events.items() if state == states.SUCCESS
            )
            return events

        def has_task(self, task_instance: Any) -> bool:
            due = task_instance.state in (states.SCHEDULED, states.QUEUED)
            return super().has_task(task_instance) or (due and task_instance.key in self.reported)

    module.LocalExecutor = LocalExecutor


PATCHES = (
    Patch(
        name="local-tasks-in-own-processes",
        module=MODULE,
        needs=(
            "_execute_work",
            "TaskInstanceState",
            *(
                f"LocalExecutor.{name}"
                for name in (
                    "start", "queue_workload", "trigger_tasks", "sync", "revoke_task",
                    "try_adopt_task_instances", "end", "has_task",
                    "order_queued_tasks_by_priority", "change_state",
                )
            ),
        ),
        distribution=CORE,
        versions=">=3.0.1,<3.2",
        kind=Kind.CORRECTNESS,
        reason="Without Docker, tasks wait although slots are free, and a backlog stops the "
        "scheduler.",
        upstream="apache/airflow#54523, #70526, #71914",
        delete_when="LocalExecutor counts its running tasks",
        apply=run_in_own_processes,
    ),
    Patch(
        name="ignore-stale-ends-of-local-tasks",
        module=MODULE,
        needs=("TaskInstanceState", "LocalExecutor.get_event_buffer", "LocalExecutor.has_task"),
        distribution=CORE,
        versions=">=3.0.1,<3.2",
        kind=Kind.CORRECTNESS,
        reason="Without Docker, a sensor that is due again before the end of its process is "
        "noticed fails.",
        upstream="apache/airflow#66374, #67287",
        delete_when="Airflow ignores the stale result of a rescheduled task",
        apply=ignore_stale_ends,
    ),
)  # fmt: skip
