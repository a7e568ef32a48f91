"""Kill services that run but do not work, as supervisord's event listener; it restarts them.

A service has failed if the status page reports it as down (not just unknown) in MISSES checks in a
row, or if PostgreSQL does not answer `pg_isready` that often. After a few restarts within an hour
it stays as it is, until a person looks at it. While PostgreSQL starts or recovers from a crash,
nothing is killed.

A scheduler whose loop takes long is late for its heartbeat, and killing it would end its tasks. It
may fail for PATIENT_MISSES checks if it works or runs tasks, and for any number if it does both.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Collection, Iterator
from contextlib import suppress
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

import psutil
from supervisor import childutils

# Ticks come every 5 s.
CHECK_EVERY_TICKS = 4
MISSES = 3
PATIENT_MISSES = 15
# A service may take this long to start.
STARTING_SECONDS = 60
KILLS_PER_HOUR = 3
# The exit code of `pg_isready` while PostgreSQL starts, recovers from a crash or stops.
REJECTING = 1
# Its child processes run the tasks.
SCHEDULER = "airflow-scheduler"


class Watch:
    """Counts of failed checks, and times of kills, by service. Times are in seconds."""

    def __init__(self) -> None:
        self.misses: dict[str, int] = defaultdict(int)
        self.kills: dict[str, list[float]] = defaultdict(list)
        self.cpu_seconds = 0.0

    def excuse(self, failed: set[str], scheduler: int) -> set[str]:
        """Return the services that may fail for longer, and remove a busy scheduler from `failed`.

        It works if its process used the CPU since the last call.
        """
        process = psutil.Process(scheduler)
        used = sum(process.cpu_times()[:2])
        works, self.cpu_seconds = used > self.cpu_seconds, used
        tasks = any(child.status() != psutil.STATUS_ZOMBIE for child in process.children())
        if works and tasks:
            failed.discard(SCHEDULER)
        return {SCHEDULER} if works or tasks else set()

    def judge(
        self,
        failed: set[str],
        running: dict[str, float],
        now: float,
        patient: Collection[str] = (),
    ) -> Iterator[str]:
        """Yield the services to kill. `running` contains the start time of each service."""
        for name, since in running.items():
            missed = name in failed and now - since > STARTING_SECONDS
            self.misses[name] = self.misses[name] + 1 if missed else 0
            if self.misses[name] < (PATIENT_MISSES if name in patient else MISSES):
                continue
            self.kills[name] = [moment for moment in self.kills[name] if now - moment < 3600]
            if len(self.kills[name]) < KILLS_PER_HOUR:
                self.kills[name].append(now)
                self.misses[name] = 0
                yield name


def failed_services() -> set[str]:
    """Return the services that are down; the status page itself if it does not answer."""
    if code := postgres_code():
        # Services that need PostgreSQL are down too, but restarting them would not help.
        return set() if code == REJECTING else {"postgres"}
    try:
        document = status_document()
        if document["stack"] != os.environ["STACK_ID"]:
            # Another stack listens on the port of this one's page, which therefore cannot start.
            return {"status"}
        services = document["services"]
        return {s["name"] for s in services if s["state"] == "down"} - {"postgres"}
    except (OSError, ValueError, LookupError, TypeError):
        return {"status"}


def status_document() -> Any:
    """Return the status document. Status 503 concerns the stack, so the page itself is healthy.

    Raises OSError without an answer, and ValueError if it is not JSON.
    """
    # Requests to this machine must not use a proxy.
    opener = build_opener(ProxyHandler({}))
    try:
        with opener.open(f"{os.environ['STATUS_URL']}/status.json", timeout=5) as answer:
            return json.load(answer)
    except HTTPError as error:
        with error:
            return json.load(error)


def postgres_code() -> int:
    """Return the exit code of `pg_isready`: 0 if PostgreSQL accepts sessions on its socket."""
    command = ["pg_isready", "--quiet", "--timeout=5", f"--host={os.environ['POSTGRES_SOCKETS']}"]
    return subprocess.run(command, check=False).returncode


def main() -> None:
    """Listen to supervisord's ticks until it exits."""
    watch, ticks = Watch(), 0
    supervisor = childutils.getRPCInterface(os.environ).supervisor
    while True:
        childutils.listener.wait()
        ticks += 1
        if ticks % CHECK_EVERY_TICKS == 0:
            failed = failed_services()
            infos = [i for i in supervisor.getAllProcessInfo() if i["statename"] == "RUNNING"]
            pids = {info["name"]: info["pid"] for info in infos if info["pid"] != os.getpid()}
            running = {info["name"]: info["start"] for info in infos if info["name"] in pids}
            patient: Collection[str] = ()
            with suppress(KeyError, psutil.Error):
                patient = watch.excuse(failed, pids[SCHEDULER])
            for name in watch.judge(failed, running, time.time(), patient):
                message = f"{name} failed several checks in a row. Restarting it."
                print(message, file=sys.stderr, flush=True)
                os.killpg(pids[name], signal.SIGKILL)
        childutils.listener.ok()


if __name__ == "__main__":
    main()
