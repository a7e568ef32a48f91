"""The values of secrets, looked for in whatever a stack leaves; only their names are ever told."""

import base64
import json
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

# Names in each file: `FILE\\0VALUE` a line. Binary files too.
GREP = (
    "grep",
    "--recursive",
    "--with-filename",
    "--null",
    "--only-matching",
    "--text",
    "--fixed-strings",
    "--file=-",
)
# What a service may not read itself, or what ended meanwhile.
UNREAD = re.compile(rb"^grep: .*: (Permission denied|No such (file or directory|device|process))")
# A shorter piece of a value could stand anywhere.
LEAST = 12


def forms(value: str) -> Iterator[str]:
    """How a value may be written: as it is, in a URL, in JSON, in base64 (also within more)."""
    yield from (value, quote(value, safe=""), json.dumps(value)[1:-1])
    for before in range(3):
        whole = base64.b64encode(b" " * before + value.encode()).decode().rstrip("=")
        # What stands at both ends depends on the neighbours.
        inner = whole[(0, 2, 3)[before] : -1]
        yield from (inner, inner.translate(str.maketrans("+/", "-_")))


class Hunt:
    """Looks for secrets; each answer is `where: NAME`, never a value."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        pairs = [(form, name) for name, value in secrets.items() for form in forms(value)]
        self.names = {form: name for form, name in pairs if len(form) >= LEAST}
        self.patterns = "\n".join(self.names).encode()

    def in_text(self, where: str, text: str) -> set[str]:
        """In a text."""
        return {f"{where}: {name}" for form, name in self.names.items() if form in text}

    def below(self, *paths: Path | str, leaving: Sequence[str] = ()) -> set[str]:
        """In every file below folders, but those below folders of these names."""
        return self._grep([], paths, leaving)

    def in_container(self, container: str, *paths: str, leaving: Sequence[str] = ()) -> set[str]:
        """The same in a container, in what its service may read."""
        return self._grep(["docker", "exec", "--interactive", container], paths, leaving)

    def in_output(self, where: str, *argv: str, **options: object) -> set[str]:
        """In all that a command prints; raises CalledProcessError when it fails."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "printed")
            with file.open("wb") as printed:
                told = {"stdout": printed, "stderr": subprocess.STDOUT, "check": True}
                subprocess.run(argv, **told, **options)
            assert file.stat().st_size, f"{where} printed nothing"
            found = self.below(file)
        return {line.replace(str(file), where) for line in found}

    def _grep(
        self, within: Sequence[str], paths: Sequence[Path | str], leaving: Sequence[str]
    ) -> set[str]:
        left = [f"--exclude-dir={name}" for name in leaving]
        # The values reach it on standard input: `ps` would show an argument.
        done = subprocess.run(
            [*within, *GREP, *left, "--", *map(str, paths)],
            input=self.patterns,
            capture_output=True,
            check=False,
        )
        lost = [line for line in done.stderr.splitlines() if not UNREAD.search(line)]
        assert done.returncode in (0, 1, 2), done.stdout + done.stderr
        assert not lost, lost[:5]
        lines = [line.partition("\0") for line in done.stdout.decode(errors="replace").split("\n")]
        return {f"{path}: {self.names[form]}" for path, _, form in lines if path}
