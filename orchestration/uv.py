"""uv, which makes environments and locks, with this machine's certificates and your own index."""

from pathlib import Path

from orchestration import shell
from orchestration.settings import Settings


def command(settings: Settings, *arguments: str, folder: Path | None = None) -> shell.Command:
    """A uv command; the address of an index may hold a password, so no argument tells it."""
    index = settings["PYPI_INDEX_URL"]
    environment = {**settings.environment, "UV_SYSTEM_CERTS": "1"}
    environment |= {"UV_DEFAULT_INDEX": index} if index else {}
    program = shell.ours("uv", environment)
    return shell.Command((program, *arguments), env=environment, cwd=folder)
