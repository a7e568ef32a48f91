"""Back up and restore the DAG files: `dags/` and, if it exists, `include/` next to it."""

import os
import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from orchestration import checksums
from orchestration.backup import archive
from orchestration.errors import StackError
from orchestration.settings.model import Settings

TAR = "dags.tar"
FOLDERS = ("dags", "include")
# Packed with the DAGs, which need the packages in these files.
REQUIREMENTS = ("requirements.txt", "requirements.lock", "packages.txt")


def pack(settings: Settings, into: Path) -> None:
    """Pack all DAG files, and the lists of packages that they need, into TAR in a folder.

    Raises StackError if one cannot be read.
    """
    install = settings.root / "install"
    paths = {f"install/{n}": install / n for n in REQUIREMENTS if (install / n).exists()}
    archive.pack(into / TAR, {**files(settings.project_dir), **paths})


def files(project_dir: Path) -> dict[str, Path]:
    """Return the files of FOLDERS by their names, such as `dags/mine.py`, without bytecode.

    Links to files and folders count as what they point to. Raises StackError for a folder that
    cannot be read.
    """
    paths = (path for name in FOLDERS for path in _below(project_dir / name))
    return {str(path.relative_to(project_dir)): path for path in sorted(paths)}


def _below(root: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(root, followlinks=True, onerror=_fail_if_unreadable):
        folders[:] = [n for n in folders if n != "__pycache__" and not _is_loop(parent, n, root)]
        # A link without a target is what some editors create while a file is open.
        yield from (path for name in names if (path := Path(parent, name)).is_file())


def _fail_if_unreadable(error: OSError) -> None:
    # Only `dags/` always exists.
    if not isinstance(error, FileNotFoundError):
        cause = f"{error.filename} cannot be read: {error.strerror}."
        raise StackError(cause, fix=f"chmod u+rx {error.filename}")


def _is_loop(parent: str, name: str, root: Path) -> bool:
    """Return whether a folder is a link to a folder that contains the link."""
    path = Path(parent, name)
    if not path.is_symlink():
        return False
    above = [folder.resolve() for folder in path.parents if folder.is_relative_to(root)]
    return any(folder.is_relative_to(path.resolve()) for folder in above)


def restore(folder: Path, settings: Settings, *, overwrite: bool) -> None:
    """Restore the DAG files of a backup; without `overwrite`, only list those that differ.

    The previous files are copied to `dags.before-TIME`. Links below the folders become files.
    """
    packed, root = archive.contents(folder / TAR), settings.project_dir
    wanted = {n: sha256 for n, sha256 in packed.items() if n.startswith(("dags/", "include/"))}
    # Older backups do not contain `include/`, which is then left alone.
    restored = ("dags", *{name.split("/")[0] for name in wanted})
    paths = {n: path for n, path in files(root).items() if n.split("/")[0] in restored}
    current = {name: checksums.sha256_of(path) for name, path in paths.items()}
    different = sorted(n for n in {*current, *wanted} if current.get(n) != wanted.get(n))
    if not different:
        return
    if not overwrite:
        names = (name.removeprefix("dags/") for name in different)
        shown = (name if name.isprintable() else repr(name) for name in names)
        print(f"DAG files that differ from the backup: {', '.join(shown)}")
        print("To restore them too, repeat the command with --dags.")
        return
    kept = _copy_to_previous(paths, root)
    _remove_links(root, {*current, *wanted})
    for name in set(current) - set(wanted):
        (root / name).unlink(missing_ok=True)
    archive.unpack(folder / TAR, root, list(wanted))
    print(f"The DAG files of the backup were restored. The previous ones are in {kept}.")


def _copy_to_previous(paths: dict[str, Path], root: Path) -> str:
    suffix = f"before-{datetime.now():%Y%m%dT%H%M%S}"
    for name, path in paths.items():
        folder, _, below = name.partition("/")
        copy = root / f"{folder}.{suffix}" / below
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy)
    return " and ".join(str(path) for path in sorted(root.glob(f"*.{suffix}"))) or "none"


def _remove_links(root: Path, names: set[str]) -> None:
    """Remove links below the folders, so that no file outside of them is changed."""
    for name in names:
        for depth in range(2, len(Path(name).parts) + 1):
            path = root.joinpath(*Path(name).parts[:depth])
            if path.is_symlink():
                path.unlink()
