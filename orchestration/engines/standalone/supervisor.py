"""Control the supervisord of one stack through its XML-RPC interface on a socket."""

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

# supervisord's names of states, and Docker's.
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
    """A supervisord that listens at `address` (unix://…) and writes its own log to `log`."""

    def __init__(self, address: str, log: Path) -> None:
        self.address = address
        self.log = log

    def call(self, method: str, *arguments: Any, default: Any = None) -> Any:
        """Call a method of the interface; return `default` if it is not running or shuts down.

        Raises xmlrpc.client.Fault if supervisord refuses the call.
        """
        # Imported here because it would slow down every command of the Docker engine.
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
        """Return whether it runs and is not shutting down."""
        return self.call("getPID") is not None

    def processes(self) -> dict[str, dict[str, Any]]:
        """Return the process info of each program by name; empty if supervisord does not answer."""
        return {info["name"]: info for info in self.call("getAllProcessInfo", default=[])}

    def launch(self, command: runner.Command) -> None:
        """Start supervisord as a daemon; raise StackError unless it answers in START_SECONDS."""
        runner.run(command)
        if not wait_until(self.answers, START_SECONDS, pause=0.1):
            raise StackError("supervisord did not start.", fix=f"See {self.log}.")

    def start(self, name: str) -> None:
        """Start a program unless it runs; raise StackError if supervisord refuses."""
        try:
            self.call("startProcess", name, False)
        except Fault as fault:
            if "ALREADY_STARTED" not in fault.faultString:
                cause = f"supervisord could not start {name}: {fault.faultString}."
                raise StackError(cause, fix="inv doctor") from None

    def stop(self, name: str) -> None:
        """Stop a program within its own grace period; do nothing if it does not run."""
        try:
            self.call("stopProcess", name)
        except Fault as fault:
            if "NOT_RUNNING" not in fault.faultString:
                cause = f"supervisord could not stop {name}: {fault.faultString}."
                raise StackError(cause, fix="inv doctor") from None

    def restart_gracefully(self, name: str, seconds: float) -> None:
        """Ask a program to exit and wait until supervisord has replaced it; start it if stopped.

        Raises StackError if it has not exited within `seconds`.
        """
        if not (pid := self._pid(name)):
            return self.start(name)
        self.call("signalProcess", name, "TERM")
        if not wait_until(lambda: self._pid(name) != pid, seconds, pause=0.2):
            cause = f"{name} did not exit within {seconds:.0f} s."
            raise StackError(cause, fix=f"inv restart -s {name}")

    def _pid(self, name: str) -> int:
        return int(self.processes().get(name, {"pid": 0})["pid"])

    def shut_down(self) -> None:
        """Let supervisord stop its programs in order and exit; wait STOP_SECONDS at most."""
        pid = self.call("getPID")
        if pid is None:
            return
        self.call("shutdown")
        wait_until(lambda: not any(orphans.process_tree(pid)), STOP_SECONDS, pause=0.2)

    def restarts(self, name: str) -> int:
        """Return how often a program exited by itself since supervisord started, by its log.

        Programs that were stopped on purpose do not count. Services should never exit, so for all
        but the scheduler exit code 0 is no better: `restart_gracefully` asks the scheduler to exit.
        """
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        current = text.rpartition("supervisord started with pid")[2]
        unwanted = "not expected" if name == "airflow-scheduler" else "expected"
        return len(re.findall(rf"exited: {name} \(.*{unwanted}\)", current))

    def service(self, info: dict[str, Any]) -> Service:
        """Return the service that a program's process info describes."""
        return Service(
            name=info["name"],
            state=STATES.get(info["statename"], "exited"),
            since=datetime.fromtimestamp(info["start"], UTC) if info["start"] else None,
            restarts=self.restarts(info["name"]),
            exit_code=info["exitstatus"],
        )
