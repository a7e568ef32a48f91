"""Deferred tasks with many triggers, and with triggers that are slow, block or fail."""

import asyncio
import time
from datetime import datetime
from pathlib import Path

from airflow.sdk import BaseOperator, Variable, dag
from airflow.triggers.base import BaseTrigger, TriggerEvent
from asgiref.sync import sync_to_async

OPTIONS = {
    "schedule": None,
    "start_date": datetime(2025, 1, 1),
    "is_paused_upon_creation": False,
    "default_args": {"retries": 0},
    "tags": ["test"],
}
WAKE = Path(__file__).with_name("wake")


class Waits(BaseTrigger):
    """Waits until a file `wake` exists next to this one."""

    def __init__(self, number=0, padding=""):
        super().__init__()
        self.arguments = {"number": int(number), "padding": padding}

    def serialize(self):
        # Airflow gives this file another module name, which the triggerer cannot import.
        return f"triggers.{type(self).__name__}", self.arguments

    async def run(self):
        while not WAKE.exists():
            await asyncio.sleep(1)
        yield TriggerEvent("awake")


class Reads(Waits):
    """Reads variables as documented, in a thread."""

    async def run(self):
        for _ in range(10):
            value = await sync_to_async(Variable.get)("no_such_variable", default="default")
        yield TriggerEvent(value)


class Blocks(Waits):
    async def run(self):
        time.sleep(600)
        yield TriggerEvent("too late")


class Invalid(Waits):
    """Cannot be created in the triggerer."""

    def serialize(self):
        return "triggers.Invalid", {"number": "five"}


class Unreadable(Waits):
    """Sends an event that nobody can read."""

    async def run(self):
        yield TriggerEvent(object())


class WithoutPayload(Waits):
    async def run(self):
        yield TriggerEvent(None)


class Deferring(BaseOperator):
    def __init__(self, *, trigger, number=0, padding="", **options):
        super().__init__(**options)
        self.trigger, self.number, self.padding = trigger, number, padding

    def execute(self, context):
        trigger = globals()[self.trigger](self.number, self.padding)
        self.defer(trigger=trigger, method_name="resume")

    def resume(self, context, event=None):
        return event


@dag(**OPTIONS)
def many_triggers():
    # Together they are as long as 200 usual triggers.
    waiting = Deferring.partial(task_id="wait", trigger="Waits", padding="x" * 4000)
    waiting.expand(number=list(range(30)))


@dag(**OPTIONS)
def bad_triggers():
    for trigger in (Waits, Reads, Blocks, Invalid, Unreadable, WithoutPayload):
        Deferring(task_id=trigger.__name__, trigger=trigger.__name__)


many_triggers()
bad_triggers()
