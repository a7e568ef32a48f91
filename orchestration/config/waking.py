"""Services of Airflow are told of work by the database, instead of looking for it all the time.

3.0.1's scheduler, dag-processor and triggerer look once a second and more: a task that ended waits
half of that on average for the next to begin, ten in a row five seconds, and looking costs an idle
stack a tenth of a processor. Here triggers in the database tell of work the moment it is committed
(`NOTIFY`), and who waits for it is woken. What comes with time alone, a schedule or a delay before
a retry, is found by looking, every few seconds.
"""

import os
import select
import time
from types import SimpleNamespace
from typing import Any

import wrapt

# Not again at once where PostgreSQL is away: who uses it finds that out by itself.
RECONNECT_SECONDS = 5.0
# A DAG file that changes is seen by looking.
FILES_SECONDS = 3.0
TRIGGERS_SECONDS = 5.0


class Ear:
    """What a service is told of: work on its channel."""

    def __init__(self, channel: str, uri: str = "") -> None:
        self.channel = channel
        self.uri = uri or os.environ.get("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "")
        self.connection: Any = None
        self.tried = -RECONNECT_SECONDS

    def wait(self, seconds: float) -> bool:
        """Return after that many seconds, or once there is work; whether it was told of any."""
        import psycopg2

        began = time.monotonic()
        try:
            self._connect()
            if self.connection is not None:
                return self._heard(seconds)
        except (psycopg2.Error, OSError, ValueError):
            self.connection = None
        time.sleep(max(0, began + seconds - time.monotonic()))
        return False

    def _connect(self) -> None:
        if self.connection is None and time.monotonic() > self.tried + RECONNECT_SECONDS:
            import initialised

            self.tried = time.monotonic()
            connection = initialised.opened(self.uri, connect_timeout="3")
            connection.autocommit = True
            connection.cursor().execute(f"LISTEN {self.channel}")
            self.connection = connection

    def _heard(self, seconds: float) -> bool:
        # What was told while nobody waited may have come already.
        self.connection.poll()
        if not self.connection.notifies:
            select.select([self.connection], [], [], seconds)
            self.connection.poll()
        heard = bool(self.connection.notifies)
        self.connection.notifies.clear()
        return heard


class Pause:
    """The scheduler's, between two rounds."""

    def __init__(self, ear: Ear) -> None:
        self.ear = ear
        self.ended = time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Return after that many seconds, or once there is work.

        Told of it all the time, it would take from tasks what they run on: it rests as long as the
        last round took, at least.
        """
        began = time.monotonic()
        time.sleep(min(seconds, began - self.ended))
        self.ear.wait(max(0, began + seconds - time.monotonic()))
        self.ended = time.monotonic()


def wake_scheduler(scheduler: Any) -> None:
    """Have it pause by `Pause`, and first hear in each round what became of tasks.

    By itself it hears that last. A task that was put off and is due again would be queued before it
    is heard that its process has ended, and fail: as one that ended while it waits in the queue.
    """
    pause = Pause(Ear("scheduler"))
    scheduler.time = SimpleNamespace(**{**vars(time), "sleep": pause.sleep})

    class HearingFirst(scheduler.SchedulerJobRunner):  # type: ignore[misc]
        def _do_scheduling(self, session: Any) -> int:
            for executor in self.job.executors:
                executor.sync()
                with scheduler.create_session() as own:
                    self._process_executor_events(executor=executor, session=own)
            queued: int = super()._do_scheduling(session)
            return queued

    scheduler.SchedulerJobRunner = HearingFirst


def wake_dag_processor(manager: Any) -> None:
    """Have it wait for work where no file is parsed or is to be."""
    ear = Ear("dag_processor")

    class Woken(manager.DagFileProcessorManager):  # type: ignore[misc]
        def _service_processor_sockets(self, timeout: float | None = 1.0) -> None:
            if not self._processors and not self._file_queue:
                ear.wait(FILES_SECONDS)
                timeout = 0
            super()._service_processor_sockets(timeout=timeout)

    manager.DagFileProcessorManager = Woken


def wake_triggerer(triggerer: Any) -> None:
    """Have it ask for triggers where there are new ones, and every few seconds."""
    ear = Ear("triggerer")

    class Woken(triggerer.TriggerRunnerSupervisor):  # type: ignore[misc]
        looked, looks = -TRIGGERS_SECONDS, True

        def load_triggers(self) -> None:
            self.looks = ear.wait(0) or time.monotonic() > self.looked + TRIGGERS_SECONDS
            if self.looks:
                self.looked = time.monotonic()
                super().load_triggers()

        def handle_events(self) -> None:
            self.looks |= bool(self.events)
            super().handle_events()

        def handle_failed_triggers(self) -> None:
            self.looks |= bool(self.failed_triggers)
            super().handle_failed_triggers()

        def clean_unused(self) -> None:
            # Always before the next look: what has ended would be begun again.
            if self.looks:
                super().clean_unused()

    triggerer.TriggerRunnerSupervisor = Woken


wrapt.register_post_import_hook(wake_scheduler, "airflow.jobs.scheduler_job_runner")
wrapt.register_post_import_hook(wake_dag_processor, "airflow.dag_processing.manager")
wrapt.register_post_import_hook(wake_triggerer, "airflow.jobs.triggerer_job_runner")
