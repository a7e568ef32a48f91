"""End what a task started together with the task, and the task together with its supervisor.

Airflow 3.0.1 kills the process of a task alone. Processes that it started continue next to the
second try, and keep the task's slot as long as they have one of its sockets open.
"""

import ctypes
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Container
from contextlib import suppress
from functools import partial
from multiprocessing import connection
from typing import Any

from stack_runtime.shared.patch_registry import Kind, Patch

# <linux/prctl.h>
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
# Signals for the processes that a task left, each with the seconds until the next one. Helpers of
# multiprocessing exit by themselves, so first there is none.
ESCALATION = ((0, 0.3), (signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0))
# The class that `Contained` extends is not imported here.
BASE: Any = object


def prctl(option: int, value: int) -> None:
    """Set an attribute of this process in the kernel."""
    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def run_watched(supervisor_pid: int, target: Callable[[], None]) -> None:
    """Run a task so that it gets SIGHUP when its supervisor dies."""
    # A service's group can be killed at once. The task must have time to end its own children.
    os.setpgid(0, 0)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    prctl(PR_SET_PDEATHSIG, signal.SIGHUP)
    if os.getppid() == supervisor_pid:
        target()


def exited_child() -> Any:
    """Return a child that exited and was not waited for, or None.

    Raises ChildProcessError if this process has no children at all.
    """
    return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)


def wait_for_orphans(kept: Container[int]) -> None:
    """Remove children that have exited from the kernel's table, unless they are in `kept`."""
    with suppress(ChildProcessError):
        while (child := exited_child()) and child.si_pid not in kept:
            os.waitpid(child.si_pid, 0)


def processes_below(kept: Container[int] = ()) -> set[Any]:
    """Return this process's descendants, except for children in `kept`.

    Without any child, this costs one system call.
    """
    import psutil

    wait_for_orphans(kept)
    processes: set[Any] = set()
    with suppress(ChildProcessError, psutil.NoSuchProcess):
        exited_child()
        for child in psutil.Process().children():
            if child.pid not in kept:
                processes |= {child, *child.children(recursive=True)}
    return processes


class Contained(BASE):  # type: ignore[misc]
    """The supervisor of one task, which ends what the task left."""

    run_task: Callable[[], None]
    # The task and children that this process had before; empty until the task has started.
    kept: frozenset[int] = frozenset()
    # Readable when the task's process has exited.
    exit_fd: int | None = None

    @classmethod
    def start(cls, *, target: Callable[[], None] | None = None, **options: Any) -> Any:
        """Start a task. This process becomes the parent of its orphans and dies with its own."""
        scheduler = multiprocessing.parent_process()
        # A worker of LocalExecutor would outlive its scheduler.
        if scheduler and scheduler.pid == os.getppid():
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        others = {process.pid for process in processes_below()}
        watched = partial(run_watched, os.getpid(), target or cls.run_task)
        task = super().start(target=watched, **options)
        task.kept = frozenset({task.pid, *others})
        with suppress(OSError):
            task.exit_fd = os.pidfd_open(task.pid)
        return task

    def _monitor_subprocess(self) -> None:
        try:
            super()._monitor_subprocess()
        except BaseException:
            # The executor reports a failure, so another try may start.
            self.kill(signal.SIGTERM, force=True)
            self.end_processes()
            raise

    def _service_subprocess(self, max_wait_time: float, **options: Any) -> Any:
        if self.exit_fd is not None:
            # If other processes have the sockets open, the exit is no event of a socket.
            connection.wait((self.selector, self.exit_fd), max_wait_time)
            max_wait_time = 0
        return super()._service_subprocess(max_wait_time=max_wait_time, **options)

    def _check_subprocess_exit(self, **options: Any) -> Any:
        runs = self._exit_code is None and self.kept
        if runs:
            wait_for_orphans(self.kept)
        code = super()._check_subprocess_exit(**options)
        if runs and code is not None:
            self.end_processes()
        return code

    def end_processes(self) -> None:
        """End what the task left, and read what the task wrote last."""
        if self.exit_fd is not None:
            os.close(self.exit_fd)
            self.exit_fd = None
        for number, seconds in ESCALATION:
            signalled: set[Any] = set()
            deadline = time.monotonic() + seconds
            while (processes := processes_below(self.kept)) and time.monotonic() < deadline:
                for process in processes - signalled:
                    self.send(number, process)
                signalled |= processes
                self._service_subprocess(max_wait_time=0.05)
        while self.selector.get_map() and self.selector.select(1):
            self._service_subprocess(max_wait_time=0)
        # What could not be ended gets no slot.
        self._num_open_sockets = 0

    def send(self, number: int, process: Any) -> None:
        """Send a signal to a process, and log it if it is the first."""
        import psutil

        with suppress(psutil.Error):
            if number == signal.SIGTERM:
                message = "Ending a process that the task left running"
                self.process_log.warning(message, pid=process.pid, name=process.name())
            process.send_signal(number)


def end_with_task(supervisor: Any) -> None:
    """Make the supervisor end what its task left, and let neither outlive the one above."""
    if issubclass(supervisor.ActivitySubprocess, Contained):
        return

    class ContainedTask(Contained, supervisor.ActivitySubprocess):  # type: ignore[misc]
        run_task = staticmethod(supervisor._subprocess_main)

    supervisor.ActivitySubprocess = ContainedTask


PATCH = Patch(
    name="end-processes-of-tasks",
    module="airflow.sdk.execution_time.supervisor",
    needs=(
        "_subprocess_main",
        "ActivitySubprocess.start",
        "ActivitySubprocess.kill",
        "ActivitySubprocess.selector",
        "ActivitySubprocess.process_log",
        "ActivitySubprocess._exit_code",
        "ActivitySubprocess._monitor_subprocess",
        "ActivitySubprocess._service_subprocess",
        "ActivitySubprocess._check_subprocess_exit",
    ),
    distribution="apache-airflow-task-sdk",
    versions=">=1.0.1,<1.1",
    kind=Kind.CORRECTNESS,
    reason="Processes of a killed task continue next to its second try, those that a task leaves "
    "keep its slot, and a task continues after the death of its supervisor.",
    upstream="apache/airflow#51180, #65738",
    delete_when="Airflow ends all processes of a task; 3.0.3 and 3.3.2 do so in part",
    apply=end_with_task,
)
