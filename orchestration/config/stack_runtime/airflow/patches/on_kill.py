"""Call `on_kill` of its operator when a task is killed or exceeds its timeout."""

import os
import signal
import threading
from contextlib import suppress
from typing import Any

from stack_runtime.shared.patch_registry import Kind, Patch

# The supervisor sends the first, the kernel the second if the supervisor dies (task_processes.py).
SIGNALS = (signal.SIGTERM, signal.SIGHUP)
# The supervisor waits as long before it sends SIGKILL.
ON_KILL_SECONDS = 5


class Killed(BaseException):
    """Unwinds a killed task, so that its `finally` blocks run."""


class Killer:
    """Handler of the signals that end a task while it executes."""

    def __init__(self, ti: Any, log: Any) -> None:
        self.ti, self.log = ti, log
        self.pid, self.supervisor = os.getpid(), os.getppid()

    def __call__(self, number: int, frame: object) -> None:
        """End this task. Copies of its process, as multiprocessing makes them, die at once."""
        if os.getpid() != self.pid:
            die(number)
        elif os.getppid() == self.supervisor:
            self.stop_work()
            raise Killed(number)
        else:
            # Nobody ends what this process does not end now.
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(ON_KILL_SECONDS)
            signal_descendants(signal.SIGKILL)
            self.stop_work()
            die(number)

    def stop_work(self) -> None:
        """Call `on_kill`, then terminate the processes that it leaves."""
        try:
            self.ti.task.on_kill()
        except Exception:
            # The log is closed if the supervisor is dead.
            with suppress(OSError):
                self.log.exception("on_kill failed")
        signal_descendants(signal.SIGTERM)


def die(number: int) -> None:
    """End this process with a signal, as if it had no handler."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def signal_descendants(number: int) -> None:
    """Send a signal to the processes below this one."""
    import psutil

    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            process.send_signal(number)


def can_handle(number: int) -> bool:
    """Return whether this thread may set a handler and the program has none of its own."""
    main = threading.current_thread() is threading.main_thread()
    return main and signal.getsignal(number) is signal.SIG_DFL


def call_on_kill(runner: Any) -> None:
    """Make a task that executes call `on_kill` before it is killed or its timeout is raised."""
    execute = runner._execute_task

    def execute_killable(context: Any, ti: Any, log: Any) -> Any:
        from airflow.utils import timeout as module

        killer, timeout = Killer(ti, log), module.timeout

        class Timeout(timeout):  # type: ignore[misc, valid-type]
            def handle_timeout(self, *args: Any) -> None:
                # Not after the exception, which `subprocess` holds back until a program exits.
                killer.stop_work()
                super().handle_timeout(*args)

        numbers = [number for number in SIGNALS if can_handle(number)]
        module.timeout = Timeout
        try:
            for number in numbers:
                signal.signal(number, killer)
            return execute(context, ti, log)
        except Killed as killed:
            die(killed.args[0])
        finally:
            module.timeout = timeout
            for number in numbers:
                signal.signal(number, signal.SIG_DFL)

    runner._execute_task = execute_killable


PATCH = Patch(
    name="call-on-kill",
    module="airflow.sdk.execution_time.task_runner",
    needs=("_execute_task", "airflow.utils.timeout:timeout.handle_timeout"),
    distribution="apache-airflow-task-sdk",
    versions=">=1.0.1,<1.0.4",
    kind=Kind.CORRECTNESS,
    reason="A killed task does not call `on_kill`, so that a query or a pod that it started "
    "elsewhere continues.",
    upstream="apache/airflow#53718",
    delete_when="Airflow 3.0.4",
    apply=call_on_kill,
)
