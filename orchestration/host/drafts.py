"""Draft the .env that `inv install` would write on this machine."""

from orchestration.host import resources
from orchestration.project import Project
from orchestration.settings import sizing
from orchestration.settings.model import Settings


def draft_env(project: Project) -> tuple[str, str]:
    """Return `Project.draft_env` with the sizes that suit this machine."""
    return project.draft_env(sizing.sizes_for(resources.memory_gib(), resources.cpus()))


def load_or_draft(project: Project) -> Settings:
    """Return the settings as `inv install` would write them, for commands that need no .env."""
    return project.settings_of(draft_env(project)[0])
