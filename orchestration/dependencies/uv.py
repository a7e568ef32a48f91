"""uv, which makes environments and locks, with this machine's certificates and your own index."""

from pathlib import Path

from orchestration.process import runner
from orchestration.settings.model import Settings


def command(settings: Settings, *arguments: str, folder: Path | None = None) -> runner.Command:
    """A uv command; the address of an index may hold a password, so no argument tells it."""
    index = settings["PYPI_INDEX_URL"]
    environment = {**settings.environment, "UV_SYSTEM_CERTS": "1"}
    environment |= {"UV_DEFAULT_INDEX": index} if index else {}
    program = runner.ours("uv", environment)
    return runner.Command((program, *arguments), env=environment, cwd=folder)
