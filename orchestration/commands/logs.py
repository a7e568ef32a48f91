"""`inv logs`: show service logs."""

from orchestration.engines import factory
from orchestration.engines.base import check_service
from orchestration.engines.standalone import log_files
from orchestration.errors import StackError, UsageError
from orchestration.project import Project


def run(project: Project, service: str | None, *, tail: str, since: str, follow: bool) -> None:
    """Print the logs of one service or all.

    Raises UsageError if the service does not exist, `tail` is not a number or `since` is not a
    time span.
    """
    if not tail.isdecimal():
        raise UsageError(f"--tail {tail} is not a number.", fix="Use a number, as in: --tail 100")
    if since:
        log_files.parse_duration(since)
    engine = factory.engine_for(project.settings())
    if service:
        check_service(engine, service, list(engine.services()))
    code = engine.logs([service] if service else [], tail=int(tail), since=since, follow=follow)
    if code not in (0, 130):
        raise StackError("The logs could not be read.", fix="inv health")
