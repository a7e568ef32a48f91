"""Wait for the services to become healthy, shown as they come up."""

import time
from concurrent.futures import Future

from orchestration.clients import object_store
from orchestration.engines.base import Runtime
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
    """Show the services coming up until all are well.

    Raises StackError when starting failed, when READY_SECONDS have passed, with the reason, the
    last log lines and the next command, or when nothing but the artifacts' bucket is in the way.
    """
    trial: Future[list[Problem]] | None = None
    while True:
        report = health_report.look(chosen, engine)
        progress.show(render.progress_lines(report))
        if starting.done() and (error := starting.exception()):
            raise StackError(f"{_failed_one_shots(engine)}{error}")
        if starting.done() and report.status == "healthy":
            return
        if starting.done() and _only_artifacts(report):
            trial = trial or in_background(lambda: [*object_store.findings(chosen, engine)])
            _refuse_bucket(trial)
        if progress.elapsed > READY_SECONDS:
            raise StackError(
                f"not ready after {READY_SECONDS} s\n{health_report.explain(report, engine)}"
            )
        time.sleep(background.POLL_SECONDS)


def _only_artifacts(report: health_report.Report) -> bool:
    # The status page calls MLflow degraded if it answers, but its artifact store does not.
    waiting = report.waiting()
    return [part.name for part in waiting] == ["mlflow"] and waiting[0] in [
        row for row in report.services if row.verdict == "degraded"
    ]


def _refuse_bucket(trial: Future[list[Problem]]) -> None:
    # One that could not be made tells nothing.
    if trial.done() and not trial.exception() and (problems := trial.result()):
        raise StackError("All services are running, but artifacts cannot be stored.", *problems)


def _failed_one_shots(engine: Runtime) -> str:
    failed = [s.name for s in engine.ps() if s.one_shot and s.state == "exited" and s.exit_code]
    lines = [line for name in failed for line in health_report.last_words(engine, name, 12)]
    return "".join(f"{line}\n" for line in lines)
