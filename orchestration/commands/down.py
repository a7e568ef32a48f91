"""`inv down`: stop and remove all services."""

from orchestration import lifecycle
from orchestration.engines import factory
from orchestration.errors import StackError
from orchestration.host.drafts import load_or_draft
from orchestration.project import Project


def run(project: Project, *, volumes: bool, yes: bool) -> None:
    """Stop and remove every service, and with both flags the data."""
    if volumes and not yes:
        cause = "--volumes deletes all runs, models and Airflow's history."
        raise StackError(cause, fix="inv down --volumes --yes")
    # .env may be missing: this command also deletes data whose .env is lost.
    engine = factory.engine_for(lifecycle.resolve_engine(load_or_draft(project)))
    engine.down(volumes=volumes)
    print(f"Stopped. Data was {'deleted' if volumes else 'kept'}.")
