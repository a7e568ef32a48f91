"""Type `inv …` lines in forks of one process that has imported the libraries already.

Each line of standard input asks for one fork, in JSON; its exit code is the answer. A fork is
what `python -m invoke` is, less the second that a start and these imports take.
"""

import gc
import json
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any

import docker  # noqa: F401  the verbs import it late
from invoke.main import program

from orchestration.commands import health  # noqa: F401

# For the libraries that they bring along: each fork imports those of its own folder.
from orchestration.dependencies import locks  # noqa: F401
from orchestration.engines.standalone import engine as standalone_engine  # noqa: F401

SECONDS = 60


def type_line(asked: Mapping[str, Any]) -> None:
    """Type asked["argv"] in asked["cwd"] and asked["env"]; ends as the verb does."""
    signal.alarm(SECONDS)
    for number, file in enumerate((os.devnull, asked["stdout"], asked["stderr"])):
        os.dup2(os.open(file, os.O_RDWR | os.O_CREAT), number)
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    for name in [name for name in sys.modules if name.partition(".")[0] == "orchestration"]:
        del sys.modules[name]
    sys.path[0] = asked["cwd"]
    program.run(["inv", *asked["argv"]])


if __name__ == "__main__":
    # A fork copies each page that its collector looks at, which is all of them at its end.
    gc.freeze()
    gc.disable()
    for line in sys.stdin:
        child = os.fork()
        if not child:
            type_line(json.loads(line))
            break
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
