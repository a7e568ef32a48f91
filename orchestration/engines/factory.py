"""Choose the engine of a clone."""

from orchestration.engines.base import Engine
from orchestration.errors import StackError
from orchestration.settings.model import Settings


def engine_for(settings: Settings) -> Engine:
    """Return the engine of this clone.

    Raises StackError if STACK_ENGINE is still `auto`.
    """
    # Importing both engines takes time, and each command uses only one.
    if settings.engine == "docker":
        from orchestration.engines.docker.engine import DockerEngine

        return DockerEngine(settings)
    if settings.engine == "standalone":
        from orchestration.engines.standalone.engine import StandaloneEngine

        return StandaloneEngine(settings)
    raise StackError("No engine is chosen: .env contains STACK_ENGINE=auto.", fix="inv install")
