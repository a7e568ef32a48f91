"""Search files, texts and output for the values of secrets. Results contain only their names."""

import base64
import json
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

# Prints a line `FILE\0VALUE` for each match, also in binary files.
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
# Files that a service cannot read itself, and processes that have exited.
IGNORED_ERRORS = re.compile(
    rb"^grep: .*: (Permission denied|No such (file or directory|device|process))"
)
# Shorter parts of a value could occur anywhere by chance.
MINIMUM_LENGTH = 12


def forms(value: str) -> Iterator[str]:
    """Yield the value as it is, in URLs, in JSON, and in base64 at any position of a text."""
    yield from (value, quote(value, safe=""), json.dumps(value)[1:-1])
    for before in range(3):
        encoded = base64.b64encode(b" " * before + value.encode()).decode().rstrip("=")
        # The first and last characters also depend on the text around the value.
        inner = encoded[(0, 2, 3)[before] : -1]
        yield from (inner, inner.translate(str.maketrans("+/", "-_")))


class SecretSearch:
    """Search for secrets. Each result is `WHERE: NAME`, never a value."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        pairs = [(form, name) for name, value in secrets.items() for form in forms(value)]
        self.names = {form: name for form, name in pairs if len(form) >= MINIMUM_LENGTH}
        self.patterns = "\n".join(self.names).encode()

    def in_text(self, where: str, text: str) -> set[str]:
        """Return the secrets in a text."""
        return {f"{where}: {name}" for form, name in self.names.items() if form in text}

    def in_files(self, *paths: Path | str, exclude: Sequence[str] = ()) -> set[str]:
        """Return the secrets in all files below paths, except folders with excluded names."""
        return self._grep([], paths, exclude)

    def in_container(self, container: str, *paths: str, exclude: Sequence[str] = ()) -> set[str]:
        """Return the secrets in a container's files that its service can read."""
        return self._grep(["docker", "exec", "--interactive", container], paths, exclude)

    def in_output(self, where: str, *argv: str, **options: object) -> set[str]:
        """Return the secrets in a command's output. Raises CalledProcessError if it fails."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "output")
            with file.open("wb") as output:
                streams = {"stdout": output, "stderr": subprocess.STDOUT}
                subprocess.run(argv, check=True, **streams, **options)
            assert file.stat().st_size, f"{where} printed nothing"
            matches = self.in_files(file)
        return {line.replace(str(file), where) for line in matches}

    def _grep(
        self, prefix: Sequence[str], paths: Sequence[Path | str], exclude: Sequence[str]
    ) -> set[str]:
        options = [f"--exclude-dir={name}" for name in exclude]
        # The values are passed on standard input, because `ps` shows arguments.
        done = subprocess.run(
            [*prefix, *GREP, *options, "--", *map(str, paths)],
            input=self.patterns,
            capture_output=True,
            check=False,
        )
        errors = [line for line in done.stderr.splitlines() if not IGNORED_ERRORS.search(line)]
        assert done.returncode in (0, 1, 2), done.stdout + done.stderr
        assert not errors, errors[:5]
        lines = [line.partition("\0") for line in done.stdout.decode(errors="replace").split("\n")]
        return {f"{path}: {self.names[form]}" for path, _, form in lines if path}
