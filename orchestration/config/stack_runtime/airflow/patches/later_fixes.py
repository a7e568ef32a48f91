"""Fix single faults as later versions of Airflow do: those that cost work or results."""

import functools
import logging
from types import SimpleNamespace
from typing import Any

from stack_runtime.shared.patch_registry import Kind, Patch

LOG = logging.getLogger("stack_runtime.later_fixes")
CORE = "apache-airflow-core"
SDK = "apache-airflow-task-sdk"
SCHEDULER = "airflow.jobs.scheduler_job_runner"
SUPERVISOR = "airflow.sdk.execution_time.supervisor"
RUNNER = "airflow.sdk.execution_time.task_runner"


def retry_from_start(models: Any) -> None:
    """Let the next try of a task that was deferred call `execute`, not the method that failed."""
    prepare = models.TaskInstance.prepare_db_for_next_try

    def prepare_start(self: Any, session: Any) -> None:
        prepare(self, session)
        self.clear_next_method_args()

    models.TaskInstance.prepare_db_for_next_try = prepare_start


def skip_unreadable_dags(scheduler: Any) -> None:
    """Treat a stored DAG that the scheduler cannot read as missing, instead of exiting."""
    from sqlalchemy.exc import SQLAlchemyError

    def guarded(read: Any) -> Any:
        @functools.wraps(read)
        def read_or_skip(*args: Any, **options: Any) -> Any:
            try:
                return read(*args, **options)
            except SQLAlchemyError:
                raise
            except Exception as error:
                LOG.error("A DAG cannot be read: %s: %s", type(error).__name__, error)
                return None

        return read_or_skip

    scheduler._get_current_dag = guarded(scheduler._get_current_dag)
    scheduler.SchedulerDagBag._get_dag = guarded(scheduler.SchedulerDagBag._get_dag)


def consume_all_events(scheduler: Any) -> None:
    """Give a run that assets trigger all events until now, not only the first one of each."""
    events, references = scheduler.AssetEvent, scheduler.DagScheduleAssetReference

    class AllEvents(scheduler.SchedulerJobRunner):  # type: ignore[misc]
        def _create_dag_runs_asset_triggered(
            self, dag_models: Any, triggered_date_by_dag: dict[str, Any], session: Any
        ) -> None:
            dates = {one.dag_id: triggered_date_by_dag[one.dag_id] for one in dag_models}
            later = (
                scheduler.select(references.dag_id, scheduler.func.max(events.timestamp))
                .join(events, events.asset_id == references.asset_id)
                .where(references.dag_id.in_(dates), events.timestamp > min(dates.values()))
                .group_by(references.dag_id)
            )
            for dag_id, timestamp in session.execute(later):
                dates[dag_id] = max(dates[dag_id], timestamp)
            super()._create_dag_runs_asset_triggered(dag_models, dates, session)

    scheduler.SchedulerJobRunner = AllEvents


class Levels(dict[str, int]):
    """The numbers of log levels by name. Levels of other libraries count as `info`."""

    def __missing__(self, name: str) -> int:
        return logging.INFO


def accept_log_levels(supervisor: Any) -> None:
    """Accept log messages of any level from tasks and DAG files."""
    from structlog import stdlib

    stdlib.NAME_TO_LEVEL = Levels(stdlib.NAME_TO_LEVEL)


def pull_from_all_indexes(runner: Any) -> None:
    """Let `xcom_pull` find results of tasks that are mapped unlike the task that calls it."""
    from airflow.sdk.execution_time.lazy_sequence import LazyXComSequence

    pull, missing = runner.RuntimeTaskInstance.xcom_pull, object()

    def xcom_pull(
        self: Any,
        task_ids: Any = None,
        dag_id: str | None = None,
        key: str = "return_value",
        include_prior_dates: bool = False,
        *,
        map_indexes: Any = runner.NOTSET,
        default: Any = None,
        run_id: str | None = None,
    ) -> Any:
        options = {"dag_id": dag_id, "key": key, "include_prior_dates": include_prior_dates}
        options["run_id"] = run_id
        if task_ids is None or map_indexes is not runner.NOTSET:
            return pull(self, task_ids, map_indexes=map_indexes, default=default, **options)
        results: list[Any] = []
        for task_id in [task_ids] if isinstance(task_ids, str) else task_ids:
            own = pull(self, task_id, default=missing, **options)
            operator = SimpleNamespace(dag_id=dag_id or self.dag_id, task_id=task_id)
            every = LazyXComSequence(
                xcom_arg=SimpleNamespace(operator=operator, key=key),
                ti=SimpleNamespace(run_id=run_id or self.run_id),
            )
            results += [own] if own is not missing else list(iter(every)) or [default]
        return results[0] if isinstance(task_ids, str) and len(results) == 1 else results

    runner.RuntimeTaskInstance.xcom_pull = xcom_pull


def delete_own_xcoms(supervisor: Any) -> None:
    """Delete the XComs of a mapped task's previous try, which Airflow requests without index."""

    class OwnXComs(supervisor.ActivitySubprocess):  # type: ignore[misc]
        def _handle_request(self, msg: Any, *args: Any) -> None:
            if isinstance(msg, supervisor.DeleteXCom) and msg.map_index is None:
                ti = self.ti
                if (msg.dag_id, msg.run_id, msg.task_id) == (ti.dag_id, ti.run_id, ti.task_id):
                    msg.map_index = ti.map_index
            super()._handle_request(msg, *args)

    supervisor.ActivitySubprocess = OwnXComs


def wait_for_whole_groups(helper: Any) -> None:
    """Let sensors of task groups wait for tasks that have not been scheduled yet."""

    def count(run_id_task_state_map: dict[str, dict[str, Any]], states: Any) -> int:
        tasks = run_id_task_state_map.values()
        return sum(bool(one) and all(state in states for state in one.values()) for one in tasks)

    helper._get_count_by_matched_states = count


def give_exceptions(runner: Any) -> None:
    """Give callbacks of failed and retried tasks the exception."""
    finalize = runner.finalize

    def finalize_with_exception(
        ti: Any, state: Any, context: Any, log: Any, error: Any = None
    ) -> None:
        if error:
            context["exception"] = error
        finalize(ti, state, context, log, error)

    runner.finalize = finalize_with_exception


def wait_for_triggered_runs(runner: Any) -> None:
    """Let TriggerDagRunOperator wait for its run by ID, and only if it is to wait."""
    defer_task, handle = runner._defer_task, runner._handle_trigger_dag_run

    def defer_by_id(defer: Any, ti: Any, log: Any) -> Any:
        trigger = defer.trigger
        if type(trigger).__name__ == "DagStateTrigger" and trigger.run_ids:
            # A run that was reset keeps its date.
            trigger.execution_dates = None
        return defer_task(defer, ti, log)

    def handle_trigger(drte: Any, *args: Any) -> Any:
        drte.deferrable = drte.deferrable and drte.wait_for_completion
        return handle(drte, *args)

    runner._defer_task, runner._handle_trigger_dag_run = defer_by_id, handle_trigger


PATCHES = (
    Patch(
        name="retry-deferred-tasks-from-start",
        module="airflow.models.taskinstance",
        needs=("TaskInstance.prepare_db_for_next_try", "TaskInstance.clear_next_method_args"),
        distribution=CORE,
        versions=">=3.0.1,<3.1.1",
        kind=Kind.CORRECTNESS,
        reason="A deferred task that fails does not start its work again on its next try.",
        upstream="apache/airflow#56737",
        delete_when="Airflow 3.1.1",
        apply=retry_from_start,
    ),
    Patch(
        name="skip-unreadable-dags",
        module=SCHEDULER,
        needs=("_get_current_dag", "SchedulerDagBag._get_dag"),
        distribution=CORE,
        versions=">=3.0.1,<3.1.7",
        kind=Kind.CORRECTNESS,
        reason="A stored DAG that the scheduler cannot read, as its timetable is missing, stops "
        "the scheduler at each start.",
        upstream="apache/airflow#61162",
        delete_when="Airflow 3.1.7",
        apply=skip_unreadable_dags,
    ),
    Patch(
        name="consume-all-asset-events",
        module=SCHEDULER,
        needs=(
            "SchedulerJobRunner._create_dag_runs_asset_triggered",
            "AssetEvent.timestamp",
            "DagScheduleAssetReference.asset_id",
            "select",
            "func.max",
        ),
        distribution=CORE,
        versions=">=3.0.1,<3.2",
        kind=Kind.CORRECTNESS,
        reason="While a DAG is paused or at `max_active_runs`, all but the first event of an asset "
        "do not count until the asset has another one.",
        upstream="apache/airflow#56050 (open)",
        delete_when="Airflow gives a run all events until its creation",
        apply=consume_all_events,
    ),
    Patch(
        name="accept-unknown-log-levels",
        module=SUPERVISOR,
        needs=("process_log_messages_from_subprocess", "structlog.stdlib:NAME_TO_LEVEL"),
        distribution=SDK,
        versions=">=1.0.1,<1.1.6",
        kind=Kind.CORRECTNESS,
        reason="A log message with a level of its own, as some libraries have, fails its task; in "
        "a DAG file it stops the dag-processor.",
        upstream="apache/airflow#59302",
        delete_when="Airflow 3.1.6, which drops such messages",
        apply=accept_log_levels,
    ),
    Patch(
        name="pull-xcoms-of-all-map-indexes",
        module=RUNNER,
        needs=(
            "NOTSET",
            "RuntimeTaskInstance.xcom_pull",
            "airflow.sdk.execution_time.lazy_sequence:LazyXComSequence",
        ),
        distribution=SDK,
        versions=">=1.0.1,<1.0.3",
        kind=Kind.CORRECTNESS,
        reason="`xcom_pull` in a mapped task gives None for the result of one that is not mapped, "
        "and the other way round.",
        upstream="apache/airflow#51568",
        delete_when="Airflow 3.0.3",
        apply=pull_from_all_indexes,
    ),
    Patch(
        name="delete-xcoms-of-mapped-tasks",
        module=SUPERVISOR,
        needs=("DeleteXCom", "ActivitySubprocess._handle_request", "ActivitySubprocess.ti"),
        distribution=SDK,
        versions=">=1.0.1,<1.1",
        kind=Kind.CORRECTNESS,
        reason="Results of a mapped task's previous try reach later tasks if its next try returns "
        "nothing.",
        upstream="apache/airflow#54954",
        delete_when="Airflow 3.1",
        apply=delete_own_xcoms,
    ),
    Patch(
        name="wait-for-whole-task-groups",
        module="airflow.providers.standard.utils.sensor_helper",
        needs=("_get_count_by_matched_states",),
        distribution="apache-airflow-providers-standard",
        versions=">=1.1,<1.13.1",
        kind=Kind.CORRECTNESS,
        reason="ExternalTaskSensor succeeds while tasks of its task group have not started.",
        upstream="apache/airflow#66881",
        delete_when="version 1.13.1 of the provider",
        apply=wait_for_whole_groups,
    ),
    Patch(
        name="give-exceptions-to-callbacks",
        module=RUNNER,
        needs=("finalize",),
        distribution=SDK,
        versions=">=1.0.1,<1.0.3",
        kind=Kind.CORRECTNESS,
        reason="A callback or notifier of a task that uses `exception` fails, so no alert is sent.",
        upstream="apache/airflow#52066",
        delete_when="Airflow 3.0.3",
        apply=give_exceptions,
    ),
    Patch(
        name="wait-for-triggered-runs",
        module=RUNNER,
        needs=("_defer_task", "_handle_trigger_dag_run"),
        distribution=SDK,
        versions=">=1.0.1,<1.1.7",
        kind=Kind.CORRECTNESS,
        reason="A deferred TriggerDagRunOperator waits forever for a run that it reset, or though "
        "it is not to wait.",
        upstream="apache/airflow#57968, #60052",
        delete_when="Airflow 3.1.7",
        apply=wait_for_triggered_runs,
    ),
)
