"""Write files so that no reader ever sees a partial one."""

import os
from pathlib import Path


def atomic_write(
    path: Path, data: str | bytes, mode: int = 0o600, owner: int | None = None
) -> None:
    """Replace a file in one step. Root also sets its owner, with group 0.

    Text is written as UTF-8 with unchanged line endings. A reader gets the old or the new contents,
    even after a power failure.
    """
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    # An existing file of that name would keep its own permissions and owner.
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data.encode() if isinstance(data, str) else data)
        file.flush()
        os.fsync(file.fileno())
    if owner is not None and os.getuid() == 0:
        os.chown(new, owner, 0)
    # The umask may have removed some permissions.
    new.chmod(mode)
    new.replace(path)
