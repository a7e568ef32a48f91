"""Choose the engine of a clone."""

from orchestration.engines.base import Engine
from orchestration.errors import StackError
from orchestration.settings.model import Settings


def engine_for(settings: Settings) -> Engine:
    """Return the engine of this clone.

    Raises StackError when it was not decided yet.
    """
    # Imported late: each command uses one of them, and importing both takes time.
    if settings.engine == "docker":
        from orchestration.engines.docker.engine import DockerEngine

        return DockerEngine(settings)
    if settings.engine == "standalone":
        from orchestration.engines.standalone.engine import StandaloneEngine

        return StandaloneEngine(settings)
    raise StackError("STACK_ENGINE=auto in .env is not decided yet: inv install")
