"""The supervisord of one stack, through its XML-RPC interface on a socket."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, ServerProxy

from orchestration.engines.base import Service
from orchestration.engines.standalone import orphans
from orchestration.errors import StackError
from orchestration.process import runner
from orchestration.process.wait import wait_until

# supervisord's words in Docker's.
STATES = {
    "STOPPED": "created",
    "STARTING": "starting",
    "RUNNING": "running",
    "BACKOFF": "restarting",
    "STOPPING": "stopping",
}
START_SECONDS = 20
STOP_SECONDS = 90


class Supervisord:
    """Answers at `address` (unix://…) and writes its own log to `log`."""

    def __init__(self, address: str, log: Path) -> None:
        self.address = address
        self.log = log

    def ask(self, method: str, *arguments: Any, default: Any = None) -> Any:
        """Call a method of its interface; `default` where nobody answers or it is on its way out.

        Raises xmlrpc.client.Fault for what it refuses.
        """
        # supervisor is imported late: every verb of the docker engine would pay for it.
        from supervisor.xmlrpc import SupervisorTransport

        transport = SupervisorTransport(None, None, self.address)
        try:
            with ServerProxy("http://127.0.0.1", transport=transport) as proxy:
                return getattr(proxy.supervisor, method)(*arguments)
        except OSError:
            return default
        except Fault as fault:
            if fault.faultString == "SHUTDOWN_STATE":
                return default
            raise

    def answers(self) -> bool:
        """It runs and will go on running."""
        return self.ask("getPID") is not None

    def processes(self) -> dict[str, dict[str, Any]]:
        """What it knows of each program, by name; nothing where it does not answer."""
        return {info["name"]: info for info in self.ask("getAllProcessInfo", default=[])}

    def begin(self, command: runner.Command) -> None:
        """Start it as a daemon.

        Raises StackError unless it answers within START_SECONDS.
        """
        runner.run(command)
        if not wait_until(self.answers, START_SECONDS, pause=0.1):
            raise StackError(f"supervisord did not start: {self.log}")

    def start(self, name: str) -> None:
        """Start a program unless it runs.

        Raises StackError when supervisord refuses.
        """
        try:
            self.ask("startProcess", name, False)
        except Fault as fault:
            if "ALREADY_STARTED" not in fault.faultString:
                raise StackError(f"{name} does not start: {fault.faultString}") from None

    def stop(self, name: str) -> None:
        """Stop a program, with its own time to end; nothing if it does not run."""
        try:
            self.ask("stopProcess", name)
        except Fault as fault:
            if "NOT_RUNNING" not in fault.faultString:
                raise StackError(f"{name} does not stop: {fault.faultString}") from None

    def renew(self, name: str, seconds: float) -> None:
        """Let a program end in its own time, up to `seconds`; it is started anew when it has.

        One that does not run is started. Raises StackError when it has not ended by then.
        """
        if not (pid := self._pid(name)):
            return self.start(name)
        self.ask("signalProcess", name, "TERM")
        if not wait_until(lambda: self._pid(name) != pid, seconds, pause=0.2):
            raise StackError(f"{name} has not ended after {seconds:.0f} s: inv restart -s {name}")

    def _pid(self, name: str) -> int:
        return int(self.processes().get(name, {"pid": 0})["pid"])

    def end(self) -> None:
        """Let it stop its programs in good order and end, for STOP_SECONDS at most."""
        pid = self.ask("getPID")
        if pid is None:
            return
        self.ask("shutdown")
        wait_until(lambda: not any(orphans.family(pid)), STOP_SECONDS, pause=0.2)

    def restarts(self, name: str) -> int:
        """How often a program ended by itself and was started again, by its log.

        Counted from its own begin; what was stopped on purpose does not count.
        """
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        current = text.rpartition("supervisord started with pid")[2]
        return len(re.findall(rf"exited: {name} \(.*; not expected\)", current))

    def service(self, info: dict[str, Any]) -> Service:
        """A program, from what it tells of it, as a service."""
        return Service(
            name=info["name"],
            state=STATES.get(info["statename"], "exited"),
            since=datetime.fromtimestamp(info["start"], UTC) if info["start"] else None,
            restarts=self.restarts(info["name"]),
            exit_code=info["exitstatus"],
        )
