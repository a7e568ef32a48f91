"""Keep the scheduler's connection to Celery's results open."""

import sys
from typing import Any

from stack_runtime.shared.patch_registry import Kind, Patch

SCHEDULER = "airflow.jobs.scheduler_job_runner"


def keep_connection(session: Any) -> None:
    """Make the scheduler use a connection pool, as a forked Celery worker does.

    This is safe because it sends tasks without child processes ([celery] sync_parallelism), which
    would share its connection.
    """

    class KeptConnection(session.SessionManager):  # type: ignore[misc]
        was_forked = False

        @property
        def forked(self) -> bool:
            return self.was_forked or SCHEDULER in sys.modules

        @forked.setter
        def forked(self, value: bool) -> None:
            self.was_forked = value

    session.SessionManager = KeptConnection


PATCH = Patch(
    name="keep-result-connection",
    module="celery.backends.database.session",
    needs=("SessionManager.get_engine", "SessionManager._after_fork"),
    distribution="celery",
    versions=">=5.5,<5.8",
    kind=Kind.SPEED,
    reason="The scheduler opens a connection to PostgreSQL each time it reads results of tasks.",
    upstream="none",
    delete_when="results leave PostgreSQL",
    apply=keep_connection,
)
