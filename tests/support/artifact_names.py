"""Names of artifacts that programs easily get wrong, and the tree of a folder with them."""

import os
from pathlib import Path

NAMES = (
    b"back\\slash",
    b"\\n",
    b"new\nline",
    b"'single' \"double\" `back`",
    b"-rf",
    b"--checkpoint=1",
    b" spaces ",
    b"$HOME;$(id)&|<>*?[a]",
    b"%2e%2e",
    b"tab\tand\rreturn\x1b[31m",
    b"x" * 255,
    b"y" * 254 + b"1",
    b"y" * 254 + b"2",
    b"\xff\xfe not UTF-8",
    "é".encode(),
    "e\N{COMBINING ACUTE ACCENT}".encode(),
    "日本語 🙂\N{LINE SEPARATOR}".encode(),
    b"...",
    b".hidden",
    b"model.before-restore",
)


def plant(folder: Path) -> None:
    """Create a file and a folder of each name, empty folders and links."""
    root = os.fsencode(folder)
    for number, name in enumerate(NAMES):
        os.makedirs(os.path.join(root, b"1/folders", name), exist_ok=True)
        for parent in (b"1", b"1/folders/" + name):
            Path(os.fsdecode(os.path.join(root, parent, name))).write_bytes(b"%d" % number)
    (folder / "2/empty/empty").mkdir(parents=True)
    (folder / "2/to file").symlink_to(os.fsdecode(b"../1/" + NAMES[0]))
    (folder / "2/to folder").symlink_to("../1/folders")
    (folder / "2/to nothing").symlink_to("nowhere\nat all")
    (folder / "2/loop").symlink_to("..")
    os.link(os.path.join(root, b"1", NAMES[0]), folder / "2/hard link")


def tree(folder: Path) -> dict[bytes, bytes | str]:
    """Return the content of each file, the target of each link and `folder`, by name."""
    entries: dict[bytes, bytes | str] = {}
    root = os.fsencode(folder)
    for parent, folders, names in os.walk(root):
        for path in (os.path.join(parent, name) for name in (*folders, *names)):
            name = os.path.relpath(path, root)
            if os.path.islink(path):
                entries[name] = os.fsdecode(os.readlink(path))
            elif os.path.isdir(path):
                entries[name] = "folder"
            else:
                with open(path, "rb") as file:
                    entries[name] = file.read()
    return entries
