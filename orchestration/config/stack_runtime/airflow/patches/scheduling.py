"""Restart cleared tasks, end those of dead workers, and correct backfilled and triggered runs.

In 3.0.1 the scheduler ignores the end of a task that was cleared while it ran. For a task with
callbacks whose worker died, it requests a callback but leaves the task running.
"""

import copy
import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from stack_runtime.shared.patch_registry import Kind, Patch

LOG = logging.getLogger("stack_runtime.scheduling")
CORE = "apache-airflow-core"
SCHEDULER = "airflow.jobs.scheduler_job_runner"
# As long as a task waits for an answer to its heartbeat.
ANSWER_SECONDS = 5.0
# Longer than one attempt of a heartbeat and the pause before the next one ([workers]
# execution_api_retry_wait_max), so each living task sends one once the API server answers again.
GRACE_SECONDS = 30.0


@contextmanager
def withheld_callbacks(executor: Any) -> Iterator[list[Any]]:
    """Collect the callbacks that the scheduler requests meanwhile instead of sending them."""
    requests: list[Any] = []
    send, executor.send_callback = executor.send_callback, requests.append
    try:
        yield requests
    finally:
        executor.send_callback = send


def restart_cleared_tasks(scheduler: Any) -> None:
    """Run a task again when the executor reports its end and it was cleared while it ran."""
    states = scheduler.TaskInstanceState

    class ClearedRestarted(scheduler.SchedulerJobRunner):  # type: ignore[misc]
        @classmethod
        def process_executor_events(
            cls, executor: Any, job_id: Any, scheduler_dag_bag: Any, session: Any
        ) -> int:
            events = executor.event_buffer.items()
            ended = {key for key, (state, _) in events if state in (states.SUCCESS, states.FAILED)}
            count: int = super().process_executor_events(
                executor, job_id, scheduler_dag_bag, session
            )
            for ti in cleared(ended, session):
                # Otherwise the event is about an earlier part of the try, before a deferral.
                if ti.queued_by_job_id == job_id and not executor.has_task(ti):
                    restart(ti, scheduler_dag_bag.get_dag(dag_run=ti.dag_run, session=session))
            return count

    def cleared(ended: set[Any], session: Any) -> list[Any]:
        if not ended:
            return []
        model = scheduler.TaskInstance
        query = scheduler.select(model).where(
            model.filter_for_tis(ended), model.state == states.RESTARTING
        )
        rows = scheduler.with_row_locks(query, session=session, of=model, skip_locked=True)
        return [ti for ti in session.scalars(rows).all() if ti.key in ended]

    def restart(ti: Any, dag: Any) -> None:
        LOG.info("The cleared task %s has ended and runs again.", ti)
        retries = dag.get_task(ti.task_id).retries if dag and dag.has_task(ti.task_id) else 0
        # The same values as for a task that was cleared after its end.
        ti.max_tries = ti.try_number + retries
        ti.external_executor_id = None
        ti.clear_next_method_args()
        ti.state = None

    scheduler.SchedulerJobRunner = ClearedRestarted


def end_tasks_with_callbacks(scheduler: Any) -> None:
    """Retry or fail a task with callbacks whose worker died, and request its callback."""
    states = scheduler.TaskInstanceState

    class CallbacksLast(scheduler.SchedulerJobRunner):  # type: ignore[misc]
        @classmethod
        def process_executor_events(
            cls, executor: Any, job_id: Any, scheduler_dag_bag: Any, session: Any
        ) -> int:
            with withheld_callbacks(executor) as requests:
                count: int = super().process_executor_events(
                    executor, job_id, scheduler_dag_bag, session
                )
            for request in requests:
                ti = session.get(scheduler.TaskInstance, str(request.ti.id))
                dag = scheduler_dag_bag.get_dag(dag_run=ti.dag_run, session=session)
                task = dag.get_task(ti.task_id)
                ti.task = without_callbacks(task)
                ti.handle_failure(error=request.msg, session=session)
                request.task_callback_type = states(ti.state)
                retried = ti.state == states.UP_FOR_RETRY
                if task.on_retry_callback if retried else task.on_failure_callback:
                    # The last step, because it closes the session.
                    executor.send_callback(request)
            return count

    def without_callbacks(task: Any) -> Any:
        # The scheduler has only the source code of callbacks, and would log an error for each.
        task = copy.copy(task)
        if task.is_mapped:
            task.partial_kwargs = dict(task.partial_kwargs)
        task.on_failure_callback = task.on_retry_callback = []
        return task

    scheduler.SchedulerJobRunner = CallbacksLast


def request_callback_once(scheduler: Any) -> None:
    """Leave the callback of a task without heartbeats to the failure that the executor reports."""

    class PurgedOnce(scheduler.SchedulerJobRunner):  # type: ignore[misc]
        def _purge_task_instances_without_heartbeats(self, silent: Any, *, session: Any) -> None:
            with withheld_callbacks(self.job.executor):
                super()._purge_task_instances_without_heartbeats(silent, session=session)

    scheduler.SchedulerJobRunner = PurgedOnce


def spare_tasks_without_api_server(scheduler: Any) -> None:
    """Count a task as dead only if the API server has answered for some time without it."""

    class Patient(scheduler.SchedulerJobRunner):  # type: ignore[misc]
        # Since when the API server has answered while tasks sent it no heartbeats.
        answers_since: float | None = None

        def _find_task_instances_without_heartbeats(self, *, session: Any) -> list[Any]:
            silent: list[Any] = super()._find_task_instances_without_heartbeats(session=session)
            if not silent or not answers(scheduler.conf.get("core", "execution_api_server_url")):
                self.answers_since = None
                return []
            now = time.monotonic()
            if self.answers_since is None:
                self.answers_since = now
            return silent if now >= self.answers_since + GRACE_SECONDS else []

    scheduler.SchedulerJobRunner = Patient


def answers(url: str) -> bool:
    """Return whether the API server answers a request that needs the database.

    `url` is the address of its execution API.
    """
    import urllib.request

    # Without proxies, as the address is inside the stack.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    health = url.partition("/execution")[0] + "/api/v2/monitor/health"
    try:
        with opener.open(health, timeout=ANSWER_SECONDS) as response:
            healthy: bool = json.load(response)["metadatabase"]["status"] == "healthy"
    except Exception as error:
        LOG.warning("No task counts as dead while the API server does not answer: %s.", error)
        return False
    return healthy


def reprocess_own_runs(backfill: Any) -> None:
    """Make a backfill take over the runs of its own DAG only."""

    def clear_run(
        session: Any, dag: Any, dr: Any, info: Any, backfill_id: int, sort_ordinal: int
    ) -> None:
        from airflow.utils.state import DagRunState
        from airflow.utils.types import DagRunTriggeredByType, DagRunType

        dag.clear(run_id=dr.run_id, dag_run_state=DagRunState.QUEUED, session=session)
        dr.backfill_id, dr.run_type = backfill_id, DagRunType.BACKFILL_JOB
        dr.triggered_by = DagRunTriggeredByType.BACKFILL
        record = backfill.BackfillDagRun(
            backfill_id=backfill_id,
            dag_run_id=dr.id,
            logical_date=info.logical_date,
            sort_ordinal=sort_ordinal,
        )
        session.add(record)

    backfill._handle_clear_run = clear_run


def run_all_triggered_tasks(dagrun: Any) -> None:
    """Create all tasks of a triggered run, also before the start or after the end of its DAG."""
    create_tasks = dagrun.DagRun._create_tasks

    def create(run: Any, tasks: Any, task_creator: Any, *, session: Any) -> Any:
        # Airflow omits no task of a run without a date.
        if run.logical_date and run.run_type == dagrun.DagRunType.MANUAL:
            present = {ti.task_id for ti in run.get_task_instances(session=session)}
            every = run.get_dag().task_dict.values()
            tasks = [task for task in every if task.task_id not in present]
        return create_tasks(run, tasks, task_creator, session=session)

    dagrun.DagRun._create_tasks = create


EVENTS = (
    "SchedulerJobRunner.process_executor_events",
    "TaskInstance",
    "TaskInstanceState",
    "airflow.executors.base_executor:BaseExecutor.send_callback",
)
PATCHES = (
    Patch(
        name="restart-cleared-tasks",
        module=SCHEDULER,
        needs=(
            *EVENTS,
            "select",
            "with_row_locks",
            "TaskInstance.filter_for_tis",
            "TaskInstance.clear_next_method_args",
            "SchedulerDagBag.get_dag",
            "airflow.executors.base_executor:BaseExecutor.has_task",
        ),
        distribution=CORE,
        versions=">=3.0.1,<3.1",
        kind=Kind.CORRECTNESS,
        reason="A task that is cleared while it runs is killed, but never runs again.",
        upstream="apache/airflow#55084",
        delete_when="Airflow 3.1",
        apply=restart_cleared_tasks,
    ),
    Patch(
        name="end-tasks-with-callbacks",
        module=SCHEDULER,
        needs=(*EVENTS, "TaskInstance.handle_failure", "SchedulerDagBag.get_dag"),
        distribution=CORE,
        versions=">=3.0.1,<3.0.4",
        kind=Kind.CORRECTNESS,
        reason="A task with a callback for failures or retries never ends if its worker dies.",
        upstream="apache/airflow#53058, #53143",
        delete_when="Airflow 3.0.4",
        apply=end_tasks_with_callbacks,
    ),
    Patch(
        name="request-callback-once",
        module=SCHEDULER,
        needs=(
            "SchedulerJobRunner._purge_task_instances_without_heartbeats",
            "airflow.executors.base_executor:BaseExecutor.send_callback",
        ),
        distribution=CORE,
        versions=">=3.0.1,<3.2",
        kind=Kind.CORRECTNESS,
        reason="The callback of a task whose worker died runs twice, once as a failure although "
        "the task is retried.",
        upstream="apache/airflow#66767, #68008",
        delete_when="Airflow requests one callback for a task without heartbeats",
        apply=request_callback_once,
    ),
    Patch(
        name="spare-tasks-without-api-server",
        module=SCHEDULER,
        needs=(
            "SchedulerJobRunner._find_task_instances_without_heartbeats",
            "conf",
        ),
        distribution=CORE,
        versions=">=3.0.1,<3.2",
        kind=Kind.CORRECTNESS,
        reason="While the API server is away for minutes, all running tasks are repeated although "
        "they are alive.",
        upstream="none",
        delete_when="Airflow distinguishes dead tasks from an API server that is away",
        apply=spare_tasks_without_api_server,
    ),
    Patch(
        name="reprocess-own-runs",
        module="airflow.models.backfill",
        needs=("_handle_clear_run", "BackfillDagRun"),
        distribution=CORE,
        versions=">=3.0.1,<3.0.2",
        kind=Kind.CORRECTNESS,
        reason="`backfill create --reprocess-behavior` changes the runs of other DAGs too.",
        upstream="apache/airflow#50577",
        delete_when="Airflow 3.0.2",
        apply=reprocess_own_runs,
    ),
    Patch(
        name="run-all-triggered-tasks",
        module="airflow.models.dagrun",
        needs=("DagRun._create_tasks", "DagRun.get_task_instances", "DagRun.get_dag", "DagRunType"),
        distribution=CORE,
        versions=">=3.0.1,<3.2",
        kind=Kind.CORRECTNESS,
        reason="A run that is triggered before the `start_date` or after the `end_date` of its DAG "
        "succeeds without running a task.",
        upstream="apache/airflow#71758 (open)",
        delete_when="Airflow applies these dates to scheduled runs only",
        apply=run_all_triggered_tasks,
    ),
)
