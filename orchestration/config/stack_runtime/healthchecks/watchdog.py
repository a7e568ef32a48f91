"""supervisord's event listener that ends what is alive but useless; supervisord starts it anew.

A service counts as useless when the status page has called it down (not merely unknown), or
PostgreSQL has not answered `pg_isready`, at MISSES checks in a row. Only a few times an hour: what
does not come back by then is left as it is, for a person to see.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

from supervisor import childutils

# Ticks come every 5 s.
CHECK_EVERY_TICKS = 4
MISSES = 3
# A service that was started this short ago may still be on its way.
STARTING_SECONDS = 60
ENDED_PER_HOUR = 3


class Watch:
    """Counts misses and endings; `now` tells seconds."""

    def __init__(self) -> None:
        self.misses: dict[str, int] = defaultdict(int)
        self.ended: dict[str, list[float]] = defaultdict(list)

    def judge(self, useless: set[str], running: dict[str, float], now: float) -> Iterator[str]:
        """Yield the names to end, given what was useless and since when each service runs."""
        for name, since in running.items():
            missed = name in useless and now - since > STARTING_SECONDS
            self.misses[name] = self.misses[name] + 1 if missed else 0
            if self.misses[name] < MISSES:
                continue
            self.ended[name] = [moment for moment in self.ended[name] if now - moment < 3600]
            if len(self.ended[name]) < ENDED_PER_HOUR:
                self.ended[name].append(now)
                self.misses[name] = 0
                yield name


def useless_services() -> set[str]:
    """The services that are down by their own words, or give none where they must."""
    if not postgres_answers():
        # Whatever reads it is down for as long, and no better for being started anew.
        return {"postgres"}
    try:
        services = status_document()["services"]
        return {s["name"] for s in services if s["state"] == "down"} - {"postgres"}
    except (OSError, ValueError, LookupError, TypeError):
        return {"status"}


def status_document() -> Any:
    """What the status page says; its 503 is a word on the stack, the page itself is well.

    Raises OSError without an answer, ValueError for one that is not JSON.
    """
    # No proxy stands between this machine and itself.
    opener = build_opener(ProxyHandler({}))
    try:
        with opener.open(f"{os.environ['STATUS_URL']}/status.json", timeout=5) as answer:
            return json.load(answer)
    except HTTPError as error:
        with error:
            return json.load(error)


def postgres_answers() -> bool:
    """PostgreSQL takes a connection on its socket within seconds."""
    command = ["pg_isready", "--quiet", "--timeout=5", f"--host={os.environ['POSTGRES_SOCKETS']}"]
    return subprocess.run(command, check=False).returncode == 0


def main() -> None:
    """Listen to ticks until supervisord ends."""
    watch, ticks = Watch(), 0
    supervisor = childutils.getRPCInterface(os.environ).supervisor
    while True:
        childutils.listener.wait()
        ticks += 1
        if ticks % CHECK_EVERY_TICKS == 0:
            useless = useless_services()
            known = [i for i in supervisor.getAllProcessInfo() if i["statename"] == "RUNNING"]
            pids = {info["name"]: info["pid"] for info in known if info["pid"] != os.getpid()}
            running = {info["name"]: info["start"] for info in known if info["name"] in pids}
            for name in watch.judge(useless, running, time.time()):
                print(f"{name} is alive but useless: ending it", file=sys.stderr, flush=True)
                os.killpg(pids[name], signal.SIGKILL)
        childutils.listener.ok()


if __name__ == "__main__":
    main()
