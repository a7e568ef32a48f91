"""`inv rebuild`: lock, build, test the DAGs, replace services."""

import time
from contextlib import suppress

from orchestration import lifecycle, pending
from orchestration.clients.airflow import Airflow
from orchestration.engines.base import ONE_SHOTS, check_service, image_of
from orchestration.errors import StackError
from orchestration.health import canary
from orchestration.project import Project


def run(project: Project, service: str | None) -> None:
    """Lock, build, import-check, and only then swap what runs, service by service.

    Raises StackError with the requirement or DAG at fault; stack and lock are then as they were.
    """
    chosen, engine = lifecycle.working_engine(project)
    if service:
        check_service(engine, service, [name for name in engine.services() if image_of(name)])
    pending.refuse(chosen)
    chosen.refuse_exposed()
    images = (image_of(service),) if service else engine.images()
    started = time.monotonic()
    try:
        lifecycle.build_and_check(chosen, engine, images)
        if not lifecycle.running(engine):
            print("built; nothing runs that could be swapped: inv up")
            return
        names = [name for name in engine.services() if image_of(name) in images]
        names.sort(key=lambda name: name not in ONE_SHOTS)
        lifecycle.replace_all(chosen, engine, [service] if service else names)
    finally:
        # What cannot be tidied now will be the next time; it must not hide why all this failed.
        with suppress(StackError, OSError):
            engine.prune()
    canary.prove(Airflow(chosen))
    print(f"rebuilt, swapped and proven in {time.monotonic() - started:.0f} s")
