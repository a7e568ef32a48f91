"""Run uv with this machine's CA certificates and the configured package index."""

from pathlib import Path

from orchestration.process import runner
from orchestration.settings.model import Settings


def command(settings: Settings, *arguments: str, folder: Path | None = None) -> runner.Command:
    """Return a uv command; the index goes into the environment, as it may contain a password."""
    index = settings["PYPI_INDEX_URL"]
    environment = {**settings.environment, "UV_SYSTEM_CERTS": "1"}
    environment |= {"UV_DEFAULT_INDEX": index} if index else {}
    program = runner.find_program("uv", environment)
    return runner.Command((program, *arguments), env=environment, cwd=folder)
