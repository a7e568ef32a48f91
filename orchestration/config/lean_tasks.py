"""What 3.0.1 does anew for each task, done once.

Profiled in a worker, on a chain of ten tasks: of 310 ms each, 53 went into reading certificates for
a client that speaks plain HTTP, 20 into making a decoder of messages, and 12 into a heartbeat right
after the start. Costs of the API server come on top.
"""

import functools
from typing import Any

import wrapt

EXECUTION = "airflow.sdk.execution_time"


def lean_watching(supervisor: Any) -> None:
    """What watches tasks: one TLS context for all of them, and a start that is a sign of life."""
    supervisor.Client = with_one_context(supervisor.Client)
    supervisor.ActivitySubprocess = begun_alive(supervisor.ActivitySubprocess)


def with_one_context(client: Any) -> Any:
    """The client of the API server, with the TLS context that all its kind have."""

    @functools.cache
    def context() -> Any:
        import httpx

        return httpx.create_ssl_context()

    def make(**options: Any) -> Any:
        return client(**{"verify": context(), **options})

    return make


def begun_alive(watching: Any) -> type:
    """The class that watches a task's process: the server has just heard that it lives."""

    class BegunAlive(watching):  # type: ignore[misc]
        def _on_child_started(self, *told: Any, **options: Any) -> None:
            super()._on_child_started(*told, **options)
            self._last_heartbeat_attempt = self._last_successful_heartbeat

    return BegunAlive


def lean_running(runner: Any) -> None:
    """What runs a task: its decoder of messages is made when this is imported."""
    decoder = runner.TypeAdapter(runner.ToTask)

    class Ready(runner.CommsDecoder[runner.ReceiveMsgType, runner.SendMsgType]):  # type: ignore
        def __init__(self, *given: Any, **options: Any) -> None:
            super().__init__(*given, **{"decoder": decoder, **options})

    runner.CommsDecoder = Ready


def lean_results(session: Any) -> None:
    """What looks for Celery's results keeps its connection, where by itself it makes one each time.

    Only for a process that does not fork afterwards: its children would share it.
    """

    class Kept(session.SessionManager):  # type: ignore[misc]
        forked = property(lambda self: True, lambda self, value: None)

    session.SessionManager = Kept


wrapt.register_post_import_hook(lean_watching, f"{EXECUTION}.supervisor")
wrapt.register_post_import_hook(lean_running, f"{EXECUTION}.task_runner")
# In the scheduler alone, whose executor sends without children ([celery] sync_parallelism).
wrapt.register_post_import_hook(
    lambda _: wrapt.register_post_import_hook(lean_results, "celery.backends.database.session"),
    "airflow.jobs.scheduler_job_runner",
)
