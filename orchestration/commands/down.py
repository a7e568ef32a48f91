"""`inv down`: stop and remove all services."""

from orchestration import lifecycle
from orchestration.engines import factory
from orchestration.errors import StackError
from orchestration.host.drafts import load_or_draft
from orchestration.project import Project


def run(project: Project, *, volumes: bool, yes: bool) -> None:
    """Stop and remove every service; the data too only with both flags."""
    if volumes and not yes:
        raise StackError(
            "--volumes deletes all runs, models and Airflow's history: inv down --volumes --yes"
        )
    # Works without .env too: giving up the data of a lost one is this command.
    engine = factory.engine_for(lifecycle.resolve_engine(load_or_draft(project)))
    engine.down(volumes=volumes)
    print(f"down: nothing runs any more; the data {'is deleted' if volumes else 'stays'}")
