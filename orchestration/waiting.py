"""Work that takes its time, and the services that come up of it, shown until they are well."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from orchestration import StackError, bucket, health, tables
from orchestration.engine import Runtime
from orchestration.progress import Line, Progress
from orchestration.settings import Settings
from orchestration.signatures import Finding

T = TypeVar("T")
READY_SECONDS = 240
POLL_SECONDS = 0.25


def in_background(work: Callable[[], T]) -> Future[T]:
    """Run `work` beside this; one that hangs ends with the process, nobody waits for it."""
    done: Future[T] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return done


def show_until_done(work: Future[T], lines: list[Line], progress: Progress) -> T:
    """Show rows while something is done beside; what comes of it, raises what it raises."""
    while not work.done():
        progress.show(lines)
        time.sleep(POLL_SECONDS)
    return work.result()


class Steps:
    """Work in named steps, each shown while it is done and after."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.done: list[Line] = []

    def do(self, name: str, work: Callable[[], T]) -> T:
        """Do one; what comes of it, raises what it raises."""
        lines = [*self.done, (name, "wait", "")]
        result = show_until_done(in_background(work), lines, self.progress)
        self.done.append((name, "ok", ""))
        self.progress.show(self.done)
        return result


def await_services(
    chosen: Settings, engine: Runtime, starting: Future[None], progress: Progress
) -> None:
    """Show the services coming up until all are well.

    Raises StackError when starting failed, when READY_SECONDS have passed, with the reason, the
    last log lines and the next command, or when nothing but the artifacts' bucket is in the way.
    """
    trial: Future[list[Finding]] | None = None
    while True:
        report = health.look(chosen, engine)
        progress.show(tables.progress_lines(report))
        if starting.done() and (error := starting.exception()):
            raise StackError(f"{_failed_one_shots(engine)}{error}")
        if starting.done() and report.status == "healthy":
            return
        if starting.done() and _only_artifacts(report):
            trial = trial or in_background(lambda: [*bucket.findings(chosen, engine)])
            _refuse_bucket(trial)
        if progress.elapsed > READY_SECONDS:
            raise StackError(f"not ready after {READY_SECONDS} s\n{health.explain(report, engine)}")
        time.sleep(POLL_SECONDS)


def _only_artifacts(report: health.Report) -> bool:
    waiting = report.waiting()
    return [part.name for part in waiting] == ["mlflow"] and "artifact store" in waiting[0].detail


def _refuse_bucket(trial: Future[list[Finding]]) -> None:
    # One that could not be made tells nothing.
    if trial.done() and not trial.exception():
        for one in trial.result():
            raise StackError(f"everything runs, but {one.cause}\nnext: {one.fix}")


def _failed_one_shots(engine: Runtime) -> str:
    failed = [s.name for s in engine.ps() if s.one_shot and s.state == "exited" and s.exit_code]
    lines = [line for name in failed for line in health.last_words(engine, name, 12)]
    return "".join(f"{line}\n" for line in lines)
