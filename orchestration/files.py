"""Writing files so that nobody ever sees half of one."""

import os
from pathlib import Path


def atomic_write(
    path: Path, data: str | bytes, mode: int = 0o600, owner: int | None = None
) -> None:
    """Replace a file in one step, with these permissions and, for root, this owner (group 0).

    Text is written as UTF-8 with its line ends as they are. A reader finds the old or the new
    contents, also after a power failure.
    """
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    # Created exclusively: a file of somebody else by that name would keep its own permissions.
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data.encode() if isinstance(data, str) else data)
        file.flush()
        os.fsync(file.fileno())
    if owner is not None and os.getuid() == 0:
        os.chown(new, owner, 0)
    # The umask may have taken some of them.
    new.chmod(mode)
    new.replace(path)
