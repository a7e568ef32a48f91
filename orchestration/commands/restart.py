"""`inv restart`: restart one service or all."""

import time
from functools import partial

from orchestration import lifecycle, pending
from orchestration.clients.airflow import Airflow
from orchestration.engines.base import ONE_SHOTS, check_service
from orchestration.errors import StackError
from orchestration.health import canary
from orchestration.health.readiness import await_services
from orchestration.process.background import in_background, show_until_done
from orchestration.process.progress import Progress
from orchestration.project import Project


def run(project: Project, service: str | None) -> None:
    """Stop and start one service or all, wait until they say they work, prove it.

    Raises StackError where nothing runs, or for a service that does not exist or runs only once.
    """
    chosen, engine = lifecycle.working_engine(project)
    names = [name for name in engine.services() if name not in ONE_SHOTS]
    if service:
        check_service(engine, service, names)
    pending.refuse(chosen)
    chosen.refuse_exposed()
    if not lifecycle.running(engine):
        raise StackError("The stack is not running.", fix="inv up")
    started = time.monotonic()
    names = [service] if service else names
    restarting = in_background(partial(engine.restart, names))
    with Progress() as progress:
        show_until_done(
            restarting, [(name, "wait", "stops and starts") for name in names], progress
        )
        await_services(chosen, engine, restarting, progress)
    canary.prove(Airflow(chosen))
    print(f"restarted and proven in {time.monotonic() - started:.0f} s")
