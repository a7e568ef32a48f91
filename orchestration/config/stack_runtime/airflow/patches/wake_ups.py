"""Wake Airflow's services through the database when there is work, instead of polling often.

The scheduler, dag-processor and triggerer of 3.0.1 poll for work once a second or more often. On
average, a task waits half an interval until the end of the previous one is noticed. Polling uses a
tenth of a CPU in an idle stack. Database triggers (`notify_triggers`) notify of work when it is
committed, and the service that waits for it wakes up. Work that is due by time alone, such as
schedules and retries, is still found by polling every few seconds.
"""

import logging
import os
import select
import time
from types import SimpleNamespace
from typing import Any

from stack_runtime.airflow import notify_triggers
from stack_runtime.shared import database_url
from stack_runtime.shared.patch_registry import Kind, Patch

LOG = logging.getLogger("stack_runtime.wake_ups")
CORE = "apache-airflow-core"
# Pause between connection attempts. Other users of PostgreSQL report its failure themselves.
RECONNECT_SECONDS = 5.0
# How often the log repeats that the database does not wake a service.
REPEAT_SECONDS = 60.0
# How often a service polls without a notification: for changed DAG files, and for triggers.
FILES_SECONDS = 3.0
TRIGGERS_SECONDS = 5.0
# Descriptors that also wake a service when they become readable, such as the ends of processes.
WATCHED: set[int] = set()


class Listener:
    """Wait for notifications on a channel, for a limited time.

    If the database cannot wake it, it logs a warning every REPEAT_SECONDS.
    """

    def __init__(self, channel: str, url: str = "") -> None:
        self.channel = channel
        self.url = url or os.environ.get("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "")
        self.connection: Any = None
        self.tried = self.reported = -REPEAT_SECONDS
        self.trouble = ""

    def wait(self, seconds: float) -> bool:
        """Wait for `seconds` or until there is work; return whether there is."""
        import psycopg2

        started = time.monotonic()
        try:
            self._connect(started)
            if self.connection is not None:
                return self._wait_for_notification(seconds)
        except (psycopg2.Error, OSError, ValueError) as error:
            self.connection = None
            self._report(type(error).__name__)
        time.sleep(max(0, started + seconds - time.monotonic()))
        return False

    def _connect(self, now: float) -> None:
        again = REPEAT_SECONDS if self.trouble and self.connection else RECONNECT_SECONDS
        if now < self.tried + again or (self.connection and not self.trouble):
            return
        self.tried, self.connection = now, None
        connection = database_url.connect(self.url, connect_timeout="3")
        connection.autocommit = True
        cursor = connection.cursor()
        missing = notify_triggers.missing(cursor, self.channel)
        # This is the last statement, so that pg_stat_activity shows which connection listens.
        cursor.execute(f"LISTEN {self.channel}")
        self._report(f"there is no trigger on {', '.join(missing)}" if missing else "")
        self.connection = connection

    def _report(self, trouble: str) -> None:
        now = time.monotonic()
        if trouble and (not self.trouble or now > self.reported + REPEAT_SECONDS):
            LOG.warning("The database does not wake the %s: %s.", self.channel, trouble)
            self.reported = now
        elif self.trouble and not trouble:
            LOG.warning("The database wakes the %s again.", self.channel)
        self.trouble = trouble

    def _wait_for_notification(self, seconds: float) -> bool:
        # Notifications may have arrived before this call.
        self.connection.poll()
        if not self.connection.notifies:
            select.select([self.connection, *WATCHED], [], [], seconds)
            self.connection.poll()
        notified = bool(self.connection.notifies)
        self.connection.notifies.clear()
        return notified


class Pause:
    """The scheduler's pause between two rounds of its loop."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.ended = time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait for `seconds` or until there is work.

        The pause is at least as long as the last round. Otherwise a scheduler with constant
        notifications would take the CPU from the tasks.
        """
        started = time.monotonic()
        time.sleep(min(seconds, started - self.ended))
        self.listener.wait(max(0, started + seconds - time.monotonic()))
        self.ended = time.monotonic()


def wake_scheduler(scheduler: Any) -> None:
    """Make the scheduler's module pause with `Pause`."""
    pause = Pause(Listener("scheduler"))
    scheduler.time = SimpleNamespace(**{**vars(time), "sleep": pause.sleep})


def read_results_first(scheduler: Any) -> None:
    """Read the results of tasks at the start of each round; Airflow reads them at the end."""

    class ResultsFirst(scheduler.SchedulerJobRunner):  # type: ignore[misc]
        def _do_scheduling(self, session: Any) -> int:
            for executor in self.job.executors:
                executor.sync()
                self._process_executor_events(executor=executor, session=session)
            session.commit()
            # What the events changed must be read again.
            session.expunge_all()
            queued: int = super()._do_scheduling(session)
            return queued

    scheduler.SchedulerJobRunner = ResultsFirst


def wake_dag_processor(manager: Any) -> None:
    """Make the dag-processor wait for notifications while there is no file to parse."""
    listener = Listener("dag_processor")

    class Woken(manager.DagFileProcessorManager):  # type: ignore[misc]
        def _service_processor_sockets(self, timeout: float | None = 1.0) -> None:
            if not self._processors and not self._file_queue:
                listener.wait(FILES_SECONDS)
                timeout = 0
            super()._service_processor_sockets(timeout=timeout)

    manager.DagFileProcessorManager = Woken


def wake_triggerer(triggerer: Any) -> None:
    """Make the triggerer query triggers when there are new ones, and every few seconds."""
    listener = Listener("triggerer")

    class Woken(triggerer.TriggerRunnerSupervisor):  # type: ignore[misc]
        last_query, is_due = -TRIGGERS_SECONDS, True

        def load_triggers(self) -> None:
            due = self.last_query + TRIGGERS_SECONDS
            self.is_due = listener.wait(0) or time.monotonic() > due
            if self.is_due:
                self.last_query = time.monotonic()
                super().load_triggers()

        def handle_events(self) -> None:
            self.is_due |= bool(self.events)
            super().handle_events()

        def handle_failed_triggers(self) -> None:
            self.is_due |= bool(self.failed_triggers)
            super().handle_failed_triggers()

        def clean_unused(self) -> None:
            # This must happen before the next query, which would restart a finished trigger.
            if self.is_due:
                super().clean_unused()

    triggerer.TriggerRunnerSupervisor = Woken


PATCHES = (
    Patch(
        name="wake-scheduler",
        module="airflow.jobs.scheduler_job_runner",
        needs=("time.sleep", "SchedulerJobRunner._run_scheduler_loop"),
        distribution=CORE,
        versions=">=3.0.1,<3.2",
        kind=Kind.SPEED,
        reason="The scheduler looks for work every few seconds instead of being woken.",
        upstream="none",
        delete_when="Airflow's scheduler is woken by events",
        apply=wake_scheduler,
    ),
    Patch(
        name="read-results-first",
        module="airflow.jobs.scheduler_job_runner",
        needs=(
            "SchedulerJobRunner._do_scheduling",
            "SchedulerJobRunner._process_executor_events",
        ),
        distribution=CORE,
        versions=">=3.0.1,<3.2",
        kind=Kind.CORRECTNESS,
        reason="A deferred task that is due again before the end of its process is noticed fails.",
        upstream="apache/airflow#66374, #67287, #72716",
        delete_when="Airflow ignores the stale result of a deferred task in each of its states",
        apply=read_results_first,
    ),
    Patch(
        name="wake-dag-processor",
        module="airflow.dag_processing.manager",
        needs=(
            "DagFileProcessorManager._service_processor_sockets",
            "DagFileProcessorManager._processors",
            "DagFileProcessorManager._file_queue",
        ),
        distribution=CORE,
        versions=">=3.0.1,<3.1",
        kind=Kind.SPEED,
        reason="The dag-processor wakes up twice a second to look for work.",
        upstream="none",
        delete_when="Airflow's dag-processor is woken by events",
        apply=wake_dag_processor,
    ),
    Patch(
        name="wake-triggerer",
        module="airflow.jobs.triggerer_job_runner",
        needs=(
            "TriggerRunnerSupervisor.load_triggers",
            "TriggerRunnerSupervisor.handle_events",
            "TriggerRunnerSupervisor.handle_failed_triggers",
            "TriggerRunnerSupervisor.clean_unused",
            "TriggerRunnerSupervisor.events",
            "TriggerRunnerSupervisor.failed_triggers",
        ),
        distribution=CORE,
        versions=">=3.0.1,<3.1",
        kind=Kind.SPEED,
        reason="The triggerer asks the database for triggers every second.",
        upstream="none",
        delete_when="Airflow's triggerer is woken by events",
        apply=wake_triggerer,
    ),
)
