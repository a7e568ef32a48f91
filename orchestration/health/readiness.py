"""Wait until all services are healthy, showing progress."""

import time
from concurrent.futures import Future

from orchestration.clients import object_store
from orchestration.engines.base import RECOVERY_SECONDS, Runtime
from orchestration.errors import Problem, StackError
from orchestration.health import render
from orchestration.health import report as health_report
from orchestration.process import background
from orchestration.process.background import in_background
from orchestration.process.progress import Progress
from orchestration.settings.model import Settings

READY_SECONDS = 240


def await_services(
    chosen: Settings, engine: Runtime, starting: Future[None], progress: Progress
) -> None:
    """Show the services' states until all are healthy.

    Raises StackError if `starting` fails, or if only the artifacts' bucket is unusable. After
    READY_SECONDS it raises one with the reason, the last log lines and the next command. The time
    in which PostgreSQL recovers from a crash does not count, up to RECOVERY_SECONDS.
    """
    bucket: Future[list[Problem]] | None = None
    limit: float = READY_SECONDS
    while True:
        report = health_report.collect(chosen, engine)
        progress.show(render.progress_lines(report))
        if any(row.name == "postgres" and row.verdict == "degraded" for row in report.services):
            limit = READY_SECONDS + min(progress.elapsed, RECOVERY_SECONDS)
        if starting.done() and (error := starting.exception()):
            raise StackError(f"{_init_job_logs(engine)}{error}")
        if starting.done() and not report.unhealthy():
            return
        if starting.done() and _waits_for_bucket(report):
            bucket = bucket or in_background(lambda: [*object_store.problems(chosen, engine)])
            _refuse_bucket(bucket)
        if progress.elapsed > limit:
            cause = f"The services are not healthy after {limit:.0f} s."
            raise StackError(f"{cause}\n{health_report.explain(report, engine)}")
        time.sleep(background.POLL_SECONDS)


def _waits_for_bucket(report: health_report.Report) -> bool:
    # The status page calls MLflow degraded if it answers, but its artifact store does not.
    unhealthy = report.unhealthy()
    return [part.name for part in unhealthy] == ["mlflow"] and unhealthy[0] in [
        row for row in report.services if row.verdict == "degraded"
    ]


def _refuse_bucket(check: Future[list[Problem]]) -> None:
    # A check that failed to run does not show that the bucket is at fault.
    if check.done() and not check.exception() and (problems := check.result()):
        raise StackError("All services are running, but artifacts cannot be stored.", *problems)


def _init_job_logs(engine: Runtime) -> str:
    """Return the last log lines of the init jobs that failed."""
    failed = [s.name for s in engine.ps() if s.is_init_job and s.state == "exited" and s.exit_code]
    lines = [line for name in failed for line in health_report.last_log_lines(engine, name, 12)]
    return "".join(f"{line}\n" for line in lines)
