"""Run `inv` commands in forks of a process that has already imported the libraries.

Each line of standard input is a request in JSON. It is run in a fork, whose exit code is printed.
This behaves like `python -m invoke`, but saves the second that its start and imports take.
"""

import gc
import json
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any

import docker  # noqa: F401  commands import it late
from invoke.main import program

from orchestration.commands import health  # noqa: F401

# Imported for their dependencies. Each fork imports the modules of its own folder again.
from orchestration.dependencies import locks  # noqa: F401
from orchestration.engines.standalone import engine as standalone_engine  # noqa: F401

SECONDS = 60


def run_command(request: Mapping[str, Any]) -> None:
    """Run `inv` with request["argv"], in request["cwd"] and with request["env"]; exits with it."""
    signal.alarm(SECONDS)
    for number, file in enumerate((os.devnull, request["stdout"], request["stderr"])):
        os.dup2(os.open(file, os.O_RDWR | os.O_CREAT), number)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    for name in [name for name in sys.modules if name.partition(".")[0] == "orchestration"]:
        del sys.modules[name]
    sys.path[0] = request["cwd"]
    program.run(["inv", *request["argv"]])


if __name__ == "__main__":
    # Garbage collection touches all memory pages, and a fork would have to copy them.
    gc.freeze()
    gc.disable()
    for line in sys.stdin:
        child = os.fork()
        if not child:
            run_command(json.loads(line))
            break
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
