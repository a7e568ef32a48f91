"""`inv install`: check this machine, create .env and build the images."""

from orchestration import lifecycle
from orchestration.project import Project


def run(project: Project) -> None:
    """Run preflight, then write .env, then build; nothing changes while a problem exists."""
    lifecycle.install(project)
