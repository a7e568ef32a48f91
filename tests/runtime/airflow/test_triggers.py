"""Run triggers in the real runner. A small loop replaces the one that needs a database."""

import importlib
import time
from types import SimpleNamespace

import httpx
import pytest
from uuid6 import uuid7

from tests.runtime.airflow.supervised import runtime

SAMPLES = "tests.runtime.airflow.trigger_samples"
VALUE_SIZE = 100_000


@pytest.fixture(scope="module")
def triggerer():
    """Import Airflow's triggerer with all patches."""
    importlib.import_module("airflow.configuration")
    runtime("airflow.cluster_policy")
    return importlib.import_module("airflow.jobs.triggerer_job_runner")


@pytest.fixture
def triggers(triggerer):
    return runtime("airflow.patches.triggers")


class Log:
    """Collect what the runner writes to its standard error."""

    def __init__(self):
        self.lines = []

    def log(self, level, line, **fields):
        self.lines.append(line)


class Triggerer:
    """A supervisor with its runner, the runner's log, and the times of the heartbeats."""

    def __init__(self, module):
        self.log, self.beats = Log(), []
        job = SimpleNamespace(id=1, hostname="here")
        self.supervisor = module.TriggerRunnerSupervisor.start(
            job=job, capacity=1000, logger=self.log
        )

    def add(self, number, name, **arguments):
        """Give the runner a new trigger at its next report, for a task with long names."""
        from airflow.executors import workloads
        from airflow.models.trigger import Trigger

        task = workloads.TaskInstance(
            id=uuid7(), task_id="t" * 100, dag_id="d" * 100, run_id="r" * 100, try_number=1,
            map_index=-1, pool_slots=1, queue="default", priority_weight=1,
        )  # fmt: skip
        workload = workloads.RunTrigger(
            id=number, ti=task, classpath=f"{SAMPLES}.{name}",
            encrypted_kwargs=Trigger.encrypt_kwargs(arguments),
        )  # fmt: skip
        self.supervisor.creating_triggers.append(workload)

    def results(self, number, seconds=20):
        """Loop until `number` triggers have ended, and return their events and errors."""
        supervisor, deadline = self.supervisor, time.monotonic() + seconds
        while len(supervisor.events) + len(supervisor.failed_triggers) < number:
            assert supervisor.is_alive()
            assert time.monotonic() < deadline
            supervisor._service_subprocess(0.1)
            supervisor.heartbeat()
        return dict(supervisor.events), dict(supervisor.failed_triggers)


@pytest.fixture
def running(triggerer, monkeypatch):
    """Start a triggerer. Each variable has a long value."""

    def answer(request):
        key = request.url.path.rpartition("/")[2]
        return httpx.Response(200, json={"key": key, "value": "x" * VALUE_SIZE})

    api = SimpleNamespace(transport=httpx.MockTransport(answer))
    monkeypatch.setattr(triggerer, "in_process_api_server", lambda: api)
    running = Triggerer(triggerer)
    record = lambda *arguments, **options: running.beats.append(time.monotonic())  # noqa: E731
    monkeypatch.setattr(triggerer, "perform_heartbeat", record)
    yield running
    running.supervisor.kill(force=True, escalation_delay=1)


def test_hundreds_of_new_triggers_start(running):
    for number in range(1, 301):
        running.add(number, "Sample", size=1)
    events, errors = running.results(300)
    assert (len(events), errors) == (300, {})


@pytest.mark.parametrize("name", ["ReadsVariables", "ReadsVariablesInEventLoop"])
def test_triggers_read_long_variables(running, name):
    for number in range(1, 11):
        running.add(number, name)
    events, errors = running.results(10)
    assert errors == {}
    assert {event.payload for event in events.values()} == {5 * VALUE_SIZE}


def test_event_with_large_payload_arrives(running):
    running.add(1, "Sample", size=10**6)
    assert len(running.results(1)[0][1].payload) == 10**6


def test_event_without_payload_arrives(running):
    running.add(1, "WithoutPayload")
    assert running.results(1)[0][1].payload is None


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("InvalidArguments", "invalid arguments"),
        ("UnknownPayload", "Unable to serialize"),
        ("NoEvent", "validation error"),
        ("Exits", "SystemExit(3)"),
        ("DeletesVariable", "A trigger cannot send DeleteVariable"),
    ],
)
def test_bad_trigger_fails_alone(running, name, reason):
    for number, sample in enumerate(["Sample", name, "Sample"], 1):
        running.add(number, sample)
    events, errors = running.results(3)
    assert (set(events), set(errors)) == ({1, 3}, {2})
    assert reason in "".join(errors[2])


@pytest.mark.parametrize("name", ["Sleeps", "Computes", "IgnoresErrors", "SleepsAtCreation"])
def test_blocking_trigger_is_interrupted_and_named(triggers, request, name, monkeypatch):
    monkeypatch.setattr(triggers, "SILENCE_SECONDS", 2.0)
    monkeypatch.setattr(triggers, "BLOCKED_SECONDS", 4.0)
    running = request.getfixturevalue("running")
    for number, sample in enumerate(["Sample", name, "Sample"], 1):
        running.add(number, sample)
    events, errors = running.results(3)
    assert (set(events), set(errors)) == ({1, 3}, {2})
    line = next(line for line in running.log.lines if "blocked all others for 4 s." in line)
    assert "(ID 2)" in line
    assert line.strip() in "".join(errors[2])
    # The stack shows which line blocked.
    assert any("trigger_samples.py" in line for line in running.log.lines)
    pauses = [later - beat for beat, later in zip(running.beats, running.beats[1:], strict=False)]
    assert 1.5 < max(pauses) < 4
    assert time.monotonic() - running.beats[-1] < 1


def test_runner_exits_with_its_supervisor(running):
    running.add(1, "Sample")
    running.results(1)
    running.supervisor.stdin.close()
    assert running.supervisor._process.wait(10) == 1


class FakeSupervisor:
    """A supervisor that counts heartbeats, on a clock that the test sets."""

    pid, now = 1, 0.0

    def __init__(self):
        self.beats, self.creating_triggers, self.requested = 0, [], set()

    def is_alive(self):
        return True

    def heartbeat(self):
        self.beats += 1

    def _handle_request(self, msg, log):
        pass

    def update_triggers(self, requested_trigger_ids):
        self.requested = requested_trigger_ids

    def rounds(self, number, seconds):
        for _ in range(number):
            self.now += seconds
            self.heartbeat()


@pytest.fixture
def fake(triggerer, triggers, monkeypatch):
    """A supervisor with our patches and without a runner. `signals` are the times of signals."""
    names = ("messages", "ToTriggerSupervisor", "TriggerRunner", "log")
    module = SimpleNamespace(**{name: getattr(triggerer, name) for name in names})
    module.TriggerRunnerSupervisor = FakeSupervisor
    triggers.exchange_messages_in_turn(module)
    triggers.stop_heartbeat_without_progress(module)
    supervisor = module.TriggerRunnerSupervisor()
    supervisor.signals = []
    clock = SimpleNamespace(monotonic=lambda: supervisor.now)
    monkeypatch.setattr(triggers, "time", clock)
    kill = SimpleNamespace(kill=lambda pid, signum: supervisor.signals.append(supervisor.now))
    monkeypatch.setattr(triggers, "os", kill)
    return supervisor


def test_heartbeat_stops_until_next_report(fake, triggerer):
    fake.rounds(130, 1)
    assert (9 <= fake.beats <= 10, len(fake.signals)) == (True, 2)
    fake._handle_request(triggerer.GetVariable(key="from a thread"), None)
    beats = fake.beats
    fake.rounds(1, 1)
    assert fake.beats == beats
    fake._handle_request(triggerer.messages.TriggerStateChanges(), None)
    fake.rounds(1, 1)
    assert fake.beats == beats + 1


def test_delay_of_supervisor_is_no_silence_of_runner(fake, triggerer):
    for _ in range(5):
        fake.rounds(3, 70)
        fake._handle_request(triggerer.messages.TriggerStateChanges(), None)
    assert (fake.beats, fake.signals) == (15, [])


def test_trigger_that_waits_for_the_runner_is_not_queued_twice(fake):
    fake.creating_triggers = [SimpleNamespace(id=2)]
    fake.update_triggers({1, 2, 3})
    assert fake.requested == {1, 3}
