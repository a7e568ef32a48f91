"""Keep one trigger from stopping or delaying all others of the triggerer.

The triggerer has two processes. The runner's event loop runs all triggers and reports about once a
second. The supervisor answers each report with new triggers, and requests of triggers with data.
"""

import asyncio
import faulthandler
import os
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cached_property
from traceback import format_exception
from types import FrameType, SimpleNamespace
from typing import Any, get_args

from stack_runtime.shared.patch_registry import Kind, Patch

TRIGGERER = "airflow.jobs.triggerer_job_runner"
COMMS = "airflow.sdk.execution_time.task_runner:CommsDecoder"
CORE = "apache-airflow-core"
# After this time without a report, the triggerer sends no more heartbeats.
SILENCE_SECONDS = 10.0
# After this time, and each time again, the trigger that runs is interrupted.
BLOCKED_SECONDS = 60.0
# The most that one round of the supervisor adds to the silence: its own delays do not count. The
# runner reports this often while it creates triggers.
ROUND_SECONDS = 2.0


class TriggerBlockedError(BaseException):
    """A trigger blocked the event loop. Code that catches Exception must not catch this."""


class SupervisorLines:
    """The supervisor's messages as lines of any length."""

    def readline(self) -> str:
        """Return the next line; exit if the supervisor has exited."""
        return sys.stdin.readline() or sys.exit()


def drain(items: deque[Any]) -> Iterator[Any]:
    """Yield and remove all items."""
    while items:
        yield items.popleft()


def exchange_messages_in_turn(triggerer: Any) -> None:
    """Let a thread send each request and read its answer before the next request.

    Airflow reads all answers in the event loop, up to 64 KiB each. If a trigger waits for an answer
    in a thread, both read from the same socket, and an answer can be lost.
    """
    from airflow.sdk.execution_time import task_runner

    channel_class = make_channel(task_runner.CommsDecoder, triggerer.ToTriggerSupervisor)
    changes = triggerer.messages.TriggerStateChanges

    class Runner(triggerer.TriggerRunner):  # type: ignore[misc]
        async def init_comms(self) -> None:
            channel = channel_class(input=SupervisorLines(), decoder=self.decoder)
            requests = socket.socket(fileno=channel.get_message().requests_fd)
            channel.request_socket = SimpleNamespace(write=requests.sendall)
            self.channel = task_runner.SUPERVISOR_COMMS = channel
            # Triggers may occupy all threads of the event loop's own pool.
            self.thread = ThreadPoolExecutor(1)

        async def sync_state_to_supervisor(self, finished_ids: list[int]) -> None:
            events = [one for one in drain(self.events) if self.can_send(*one)]
            failures = [
                (trigger_id, error and format_exception(error))
                for trigger_id, error in drain(self.failed_triggers)
            ]
            report = changes(events=events, failures=failures, finished=finished_ids)
            answer = await asyncio.get_running_loop().run_in_executor(
                self.thread, self.channel.exchange, self.log, report
            )
            self.to_create.extend(answer.to_create)
            self.to_cancel.extend(answer.to_cancel)

        def can_send(self, trigger_id: int, event: Any) -> bool:
            """Return whether the supervisor can read an event; otherwise its trigger fails."""
            try:
                changes.model_validate_json(changes(events=[(trigger_id, event)]).model_dump_json())
            except Exception as error:
                self.failed_triggers.append((trigger_id, error))
                return False
            return True

    class Supervisor(triggerer.TriggerRunnerSupervisor):  # type: ignore[misc]
        def update_triggers(self, requested_trigger_ids: set[int]) -> None:
            # Otherwise a busy runner would get the same triggers once for each round.
            waiting = {workload.id for workload in self.creating_triggers}
            super().update_triggers(requested_trigger_ids - waiting)

    triggerer.TriggerRunner, triggerer.TriggerRunnerSupervisor = Runner, Supervisor


def make_channel(decoder: Any, union: Any) -> Any:
    """Return a subclass of Airflow's channel for the types of requests in an annotated union."""
    types = get_args(get_args(union)[0])

    class Channel(decoder):  # type: ignore[misc]
        def send_request(self, log: Any, msg: Any) -> None:
            # The supervisor would not answer, and all triggers would wait for ever.
            if not isinstance(msg, types):
                raise NotImplementedError(f"A trigger cannot send {type(msg).__name__}.")
            super().send_request(log, msg)

        def exchange(self, log: Any, msg: Any) -> Any:
            with self.lock:
                self.send_request(log, msg)
                return self.get_message()

    return Channel


def name_current_task(name: str) -> None:
    """Set the name that `interrupt` reports."""
    if task := asyncio.current_task():
        task.set_name(name)


def fail_bad_triggers_alone(triggerer: Any) -> None:
    """Fail a trigger that cannot be created or that exits; the runner continues."""

    class Runner(triggerer.TriggerRunner):  # type: ignore[misc]
        async def create_triggers(self) -> None:
            waiting, reported = deque(drain(self.to_create)), time.monotonic()
            while waiting:
                workload = waiting.popleft()
                self.to_create.append(workload)
                name_current_task(f"{workload.classpath} (ID {workload.id})")
                try:
                    await super().create_triggers()
                except (Exception, TriggerBlockedError) as error:
                    self.log.error(f"{workload.classpath} cannot be created", error=error)
                    self.failed_triggers.append((workload.id, error))
                # Many slow imports in a row must not look like a trigger that blocks.
                if time.monotonic() > reported + ROUND_SECONDS:
                    await self.sync_state_to_supervisor([])
                    waiting.extend(drain(self.to_create))
                    reported = time.monotonic()
            name_current_task("runner")

        async def run_trigger(self, *arguments: Any, **options: Any) -> None:
            try:
                await super().run_trigger(*arguments, **options)
            except SystemExit as error:
                raise RuntimeError(f"The trigger tried to exit: {error!r}") from error

    triggerer.TriggerRunner = Runner


class Silence:
    """How long the runner has not reported, as far as the supervisor was ready to listen."""

    def __init__(self) -> None:
        self.seconds, self.round_started, self.is_long = 0.0, -ROUND_SECONDS, False

    def end_round(self, log: Any) -> bool:
        """Add a round of the supervisor, and return whether the runner must be interrupted."""
        now, before, was_long = time.monotonic(), self.seconds, self.is_long
        self.seconds += min(now - self.round_started, ROUND_SECONDS)
        self.round_started, self.is_long = now, self.seconds > SILENCE_SECONDS
        if self.is_long != was_long:
            text = "no progress: one blocks all others" if self.is_long else "progress again"
            log.warning(f"The triggers make {text}.")
        return self.seconds // BLOCKED_SECONDS > before // BLOCKED_SECONDS


def interrupt(signum: int, frame: FrameType | None) -> None:
    """Raise an error in the trigger whose code runs now; its name goes to the triggerer's log."""
    with suppress(RuntimeError):
        if task := asyncio.current_task():
            text = f"The trigger {task.get_name()} blocked all others for {BLOCKED_SECONDS:.0f} s."
            os.write(2, f"{text}\n".encode())
            raise TriggerBlockedError(text)


def stop_heartbeat_without_progress(triggerer: Any) -> None:
    """Send heartbeats only while the runner reports, and interrupt a trigger that blocks it."""

    class Runner(triggerer.TriggerRunner):  # type: ignore[misc]
        def run(self) -> None:
            signal.signal(signal.SIGUSR1, interrupt)
            # The stack shows the line, also where Python cannot interrupt it.
            faulthandler.register(signal.SIGUSR1, all_threads=False, chain=True)
            super().run()

    class Supervisor(triggerer.TriggerRunnerSupervisor):  # type: ignore[misc]
        @cached_property
        def silence(self) -> Silence:
            return Silence()

        def _handle_request(self, msg: Any, *arguments: Any, **options: Any) -> None:
            if isinstance(msg, triggerer.messages.TriggerStateChanges):
                self.silence.seconds = 0.0
            super()._handle_request(msg, *arguments, **options)

        def heartbeat(self) -> None:
            must_interrupt = self.silence.end_round(triggerer.log)
            if not self.silence.is_long:
                super().heartbeat()
            elif must_interrupt and self.is_alive():
                os.kill(self.pid, signal.SIGUSR1)

    triggerer.TriggerRunner, triggerer.TriggerRunnerSupervisor = Runner, Supervisor


PATCHES = (
    Patch(
        name="exchange-trigger-messages-in-turn",
        module=TRIGGERER,
        needs=(
            "ToTriggerSupervisor",
            "messages.TriggerStateChanges",
            "TriggerRunner.init_comms",
            "TriggerRunner.sync_state_to_supervisor",
            "TriggerRunnerSupervisor.creating_triggers",
            "TriggerRunnerSupervisor.update_triggers",
            f"{COMMS}.get_message",
            f"{COMMS}.send_request",
            f"{COMMS}.request_socket",
            f"{COMMS}.lock",
        ),
        distribution=CORE,
        versions=">=3.0.1,<3.0.3",
        kind=Kind.CORRECTNESS,
        reason="The triggerer ends when about 90 deferred tasks wait, and hangs when a trigger "
        "reads a variable or connection.",
        upstream="apache/airflow#51924, #54438, #60152",
        delete_when="Airflow 3.0.3 (3.0.5 and 3.1.7 in two details)",
        apply=exchange_messages_in_turn,
    ),
    Patch(
        name="fail-bad-triggers-alone",
        module=TRIGGERER,
        needs=(
            "TriggerRunner.create_triggers",
            "TriggerRunner.run_trigger",
            "TriggerRunner.sync_state_to_supervisor",
        ),
        distribution=CORE,
        versions=">=3.0.1,<3.4",
        kind=Kind.CORRECTNESS,
        reason="A trigger whose arguments are invalid ends the triggerer, at each start again.",
        upstream="none",
        delete_when="Airflow fails only this trigger",
        apply=fail_bad_triggers_alone,
    ),
    Patch(
        name="stop-triggerer-heartbeat-without-progress",
        module=TRIGGERER,
        needs=(
            "log.warning",
            "messages.TriggerStateChanges",
            "TriggerRunner.run",
            "TriggerRunnerSupervisor._handle_request",
            "TriggerRunnerSupervisor.heartbeat",
            "TriggerRunnerSupervisor.is_alive",
            "TriggerRunnerSupervisor.pid",
        ),
        distribution=CORE,
        versions=">=3.0.1,<3.2.2",
        kind=Kind.CORRECTNESS,
        reason="A trigger that blocks stops all others, while the triggerer looks healthy.",
        upstream="apache/airflow#66412",
        delete_when="Airflow 3.2.2, which stops the heartbeat but interrupts nothing",
        apply=stop_heartbeat_without_progress,
    ),
)
