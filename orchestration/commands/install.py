"""`inv install`: check this machine, create .env and build the images."""

from orchestration import lifecycle
from orchestration.project import Project


def run(project: Project) -> None:
    """Run the preflight checks, write .env and build. Nothing changes if a check fails."""
    lifecycle.install(project)
