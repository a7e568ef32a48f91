"""The .env that `inv install` would write on this machine."""

from orchestration.host import resources
from orchestration.project import Project
from orchestration.settings import sizing
from orchestration.settings.model import Settings


def draft_env(project: Project) -> tuple[str, str]:
    """Return the text of a complete .env and what was done for it, as `Project.draft_env` does."""
    return project.draft_env(sizing.fitting(resources.memory_gib(), resources.cpus()))


def load_or_draft(project: Project) -> Settings:
    """Return the settings as `inv install` would write them, for what works without .env too."""
    return project.settings_of(draft_env(project)[0])
