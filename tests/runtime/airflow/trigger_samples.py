"""Triggers for test_triggers.py, good and bad ones. The runner imports them by their names."""

import time

from airflow.sdk import Variable
from airflow.triggers.base import BaseTrigger, TriggerEvent
from asgiref.sync import sync_to_async


class Sample(BaseTrigger):
    """A trigger that yields the value of `event` once."""

    def __init__(self, size=0):
        super().__init__()
        self.size = size

    def serialize(self):
        return f"{__name__}.{type(self).__name__}", {"size": self.size}

    async def event(self):
        return TriggerEvent("x" * self.size)

    async def run(self):
        yield await self.event()


class WithoutPayload(Sample):
    async def event(self):
        return TriggerEvent(None)


class ReadsVariables(Sample):
    """Reads variables as documented, in a thread."""

    async def event(self):
        values = [await sync_to_async(Variable.get)(f"name{n}") for n in range(5)]
        return TriggerEvent(len("".join(values)))


class ReadsVariablesInEventLoop(Sample):
    async def event(self):
        values = [Variable.get(f"name{n}") for n in range(5)]
        return TriggerEvent(len("".join(values)))


class InvalidArguments(Sample):
    def __init__(self, size=0):
        raise ValueError("invalid arguments")


class UnknownPayload(Sample):
    async def event(self):
        return TriggerEvent(object())


class NoEvent(Sample):
    async def event(self):
        return 5


class Exits(Sample):
    async def event(self):
        raise SystemExit(3)


class DeletesVariable(Sample):
    async def event(self):
        await sync_to_async(Variable.delete)("name")


class Sleeps(Sample):
    async def event(self):
        time.sleep(600)


class Computes(Sample):
    async def event(self):
        while True:
            pass


class IgnoresErrors(Sample):
    async def event(self):
        while True:
            try:
                time.sleep(600)
            except Exception:
                continue


class SleepsAtCreation(Sample):
    def __init__(self, size=0):
        time.sleep(600)
