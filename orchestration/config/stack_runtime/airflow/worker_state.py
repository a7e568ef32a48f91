"""Show the worker's health check which slots are in use, and whether the worker is stopping.

Celery imports this in the worker (named in docker-compose.yaml).
"""

from celery.platforms import set_process_title
from celery.signals import task_postrun, task_prerun, worker_shutting_down

from stack_runtime.healthchecks.worker_check import BUSY, STOPPING


def show_busy(task_id: str, **_: object) -> None:
    """Name the task in the title of its slot's process, until its log is uploaded too."""
    set_process_title(BUSY, task_id)


def show_idle(**_: object) -> None:
    """Remove the task from the title."""
    set_process_title("celery idle")


def show_stopping(**_: object) -> None:
    """Create the file that the check looks for, while the running tasks finish."""
    STOPPING.touch()


# A restarted container keeps its /tmp.
STOPPING.unlink(missing_ok=True)
task_prerun.connect(show_busy)
task_postrun.connect(show_idle)
worker_shutting_down.connect(show_stopping)
