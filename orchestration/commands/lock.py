"""`inv lock`: recompile all lock files."""

from orchestration.dependencies import locks, requirements
from orchestration.host.drafts import load_or_draft
from orchestration.project import Project


def run(project: Project) -> None:
    """Compile each lock file. Raises StackError with uv's error if a requirement cannot be met."""
    settings = load_or_draft(project)
    requirements.refuse_unsupported(settings)
    for lock in locks.LOCKS:
        locks.compile_lock(lock, settings)
        print(f"install/{lock}")
