"""`inv rebuild`: lock, build, test the DAGs, replace services."""

import time
from contextlib import suppress

from orchestration import lifecycle, pending
from orchestration.clients.airflow import Airflow
from orchestration.engines.base import INIT_JOBS, check_service, image_of
from orchestration.errors import StackError
from orchestration.health import canary
from orchestration.project import Project


def run(project: Project, service: str | None) -> None:
    """Lock, build and test all imports, then replace the services one by one.

    Services that already run from the same build are not replaced, unless `service` names one.

    Raises StackError with the requirement or DAG at fault, and leaves stack and lock unchanged.
    """
    settings, engine = lifecycle.working_engine(project)
    if service:
        check_service(engine, service, [name for name in engine.services() if image_of(name)])
    pending.ensure_none_pending(settings)
    settings.refuse_exposed()
    images = (image_of(service),) if service else engine.images()
    started = time.monotonic()
    try:
        lifecycle.build_and_check(settings, engine, images)
        if not lifecycle.is_running(engine):
            print("Built. The stack is not running.\nRun: inv up")
            return
        names = [name for name in engine.services() if image_of(name) in images]
        names.sort(key=lambda name: name not in INIT_JOBS)
        names = [service] if service else engine.outdated(names)
        if not names:
            print("Nothing has changed. All services run from the current build.")
            return
        lifecycle.replace_all(settings, engine, names)
    finally:
        # The next rebuild prunes what remains. An error here must not hide why the rebuild failed.
        with suppress(StackError, OSError):
            engine.prune()
    canary.run(Airflow(settings))
    print(f"Rebuilt and verified in {time.monotonic() - started:.0f} s.")
