"""Run `inv` commands quickly, in forks of one process."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.repository import ROOT


class Typist:
    """Runs `inv` commands as if they were typed; `type` returns what subprocess.run would."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def type(
        self, *argv: str, cwd: Path, env: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        streams = [f"{cwd}.stdout", f"{cwd}.stderr"]
        request: dict[str, Any] = {"argv": argv, "cwd": str(cwd), "env": env}
        request |= dict(zip(("stdout", "stderr"), streams, strict=True))
        for file in streams:
            Path(file).write_text("")
        assert self.process.stdin
        assert self.process.stdout
        print(json.dumps(request), file=self.process.stdin, flush=True)
        code = int(self.process.stdout.readline())
        return subprocess.CompletedProcess(argv, code, *map(text, streams))


def text(file: str) -> str:
    return Path(file).read_text(encoding="utf-8")


@contextmanager
def start_typist() -> Iterator[Typist]:
    """Start a typist for the duration of the block."""
    command = [sys.executable, "-m", "tests.support.typing_process"]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Typist(process)
        assert process.stdin
        process.stdin.close()
