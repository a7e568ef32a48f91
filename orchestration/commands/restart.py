"""`inv restart`: restart one service or all."""

import time
from functools import partial

from orchestration import lifecycle, pending
from orchestration.clients.airflow import Airflow
from orchestration.engines.base import INIT_JOBS, check_service
from orchestration.errors import StackError
from orchestration.health import canary
from orchestration.health.readiness import await_services
from orchestration.process.background import in_background, show_until_done
from orchestration.process.progress import Progress
from orchestration.project import Project


def run(project: Project, service: str | None) -> None:
    """Stop and start one service or all, wait until they are healthy and run the canary.

    Raises StackError if the stack is not running, or for an init job or an unknown service.
    """
    settings, engine = lifecycle.working_engine(project)
    names = [name for name in engine.services() if name not in INIT_JOBS]
    if service:
        check_service(engine, service, names)
    pending.ensure_none_pending(settings)
    settings.refuse_exposed()
    if not lifecycle.is_running(engine):
        raise StackError("The stack is not running.", fix="inv up")
    started = time.monotonic()
    names = [service] if service else names
    restarting = in_background(partial(engine.restart, names))
    with Progress() as progress:
        show_until_done(restarting, [(name, "wait", "restarting") for name in names], progress)
        await_services(settings, engine, restarting, progress)
    canary.run(Airflow(settings))
    print(f"Restarted and verified in {time.monotonic() - started:.0f} s.")
