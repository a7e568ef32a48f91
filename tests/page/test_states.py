"""The page for every state of the services, as the real probes see the stubs."""

import pytest

from status.board import Rounds
from status.probes import service_names
from status.server import Settings, initial_rounds
from tests.status.stubs import HEALTH, SEARCH, client
from tests.support.clock import FakeClock

NAMES = service_names("redis://x")
HEARTBEATS = ["airflow-scheduler", "airflow-dag-processor", "airflow-triggerer"]
JUNK = [b"", b"<html>welcome</html>", b'{"a": 1}']


def break_service(stack, name):
    """Make one service fail, each in a different way."""
    failures = {
        "airflow-apiserver": lambda: stack.web.answers.update({HEALTH: (503, {})}),
        "airflow-scheduler": lambda: stack.database["heartbeats"].update(SchedulerJob=99),
        "airflow-dag-processor": lambda: stack.database["heartbeats"].update(DagProcessorJob=99),
        "airflow-triggerer": lambda: stack.database["heartbeats"].update(TriggererJob=99),
        "redis": lambda: setattr(stack.broker, "persistence", "aof_enabled:1\r\n"),
        "airflow-worker": lambda: stack.broker.clients.__setitem__(0, client("get", "N")),
        "postgres": lambda: setattr(stack, "database", ConnectionRefusedError()),
        "mlflow": lambda: stack.web.answers.update({SEARCH: (500, {})}),
    }
    failures[name]()


def test_page_with_all_services_up(stack, served, visit):
    served.show(stack.round())
    seen = visit()
    assert seen.verdicts() == dict.fromkeys(NAMES, "up")
    assert seen.headline() == "All services are up"
    assert seen.defects() == []


@pytest.mark.parametrize("name", NAMES)
def test_page_with_one_service_down_names_it(stack, served, visit, name):
    break_service(stack, name)
    served.show(stack.round())
    seen = visit()
    unknown = dict.fromkeys(HEARTBEATS, "unknown") if name == "postgres" else {}
    assert seen.verdicts() == dict.fromkeys(NAMES, "up") | unknown | {name: "down"}
    assert (name in seen.headline()) == (not unknown)
    assert seen.page.get_by_text(f"inv logs -s {name}").is_visible()
    assert seen.defects() == []


def test_page_with_all_services_down(stack, served, visit, dead_address):
    stack.airflow_url = stack.mlflow_url = f"http://{dead_address}"
    stack.database = ConnectionRefusedError()
    stack.broker.url = f"redis://:s3cret@{dead_address}/0"  # pragma: allowlist secret
    served.show(stack.round())
    seen = visit()
    unknown = dict.fromkeys([*HEARTBEATS, "airflow-worker"], "unknown")
    assert seen.verdicts() == dict.fromkeys(NAMES, "down") | unknown
    assert seen.headline() == "No service is up"
    assert seen.defects() == []


def test_page_before_the_first_round_is_unknown(visit):
    seen = visit()
    assert seen.verdicts() == dict.fromkeys(NAMES, "unknown")
    assert seen.page.get_by_text("First check in progress.").is_visible()
    assert seen.defects() == []


def test_page_with_hanging_services_shows_the_time_limit(stack, served, visit):
    stack.web.answers = dict.fromkeys(stack.web.answers, (200, None))
    stack.database, stack.broker.hangs = None, True
    served.show(stack.round())
    seen = visit()
    assert "up" not in seen.verdicts().values()
    assert seen.page.get_by_text("no answer within 2 s").count() == len(NAMES)
    assert seen.defects() == []


def test_page_after_stale_rounds_is_unknown(stack, served, visit):
    clock, settings = FakeClock(), Settings.load({"REDIS_URL": "redis://x"})
    served.use(Rounds(initial_rounds(settings).board().round, 10, clock))
    served.show(stack.round())
    seen = visit()
    assert "unknown" not in seen.verdicts().values()
    clock.now += 31
    seen.page.get_by_text("stale: last checked 31 s ago").first.wait_for()
    assert seen.verdicts() == dict.fromkeys(NAMES, "unknown")
    assert seen.defects() == []


@pytest.mark.parametrize("junk", JUNK)
def test_page_with_junk_from_all_services_shows_none_as_up(stack, served, visit, junk):
    stack.web.answers = dict.fromkeys(stack.web.answers, (200, junk))
    stack.database = junk.decode()
    stack.broker.persistence, stack.broker.clients = "", [client("get", "N")]
    served.show(stack.round())
    seen = visit()
    assert "up" not in seen.verdicts().values()
    assert seen.defects() == []
