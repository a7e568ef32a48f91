"""What the services may do to the page: every state, as the real probes find it on stubs."""

import pytest

from status.board import Rounds
from status.probes import service_names
from status.server import Settings, waiting
from tests.status.stubs import HEALTH, SEARCH, client
from tests.support.clock import FakeClock

NAMES = service_names("redis://x")
BEATS = ["airflow-scheduler", "airflow-dag-processor", "airflow-triggerer"]
JUNK = [b"", b"<html>welcome</html>", b'{"a": 1}']


def stop(stack, name):
    """Let one service fail in a way of its own."""
    ways = {
        "airflow-apiserver": lambda: stack.web.answers.update({HEALTH: (503, {})}),
        "airflow-scheduler": lambda: stack.database["heartbeats"].update(SchedulerJob=99),
        "airflow-dag-processor": lambda: stack.database["heartbeats"].update(DagProcessorJob=99),
        "airflow-triggerer": lambda: stack.database["heartbeats"].update(TriggererJob=99),
        "redis": lambda: setattr(stack.broker, "persistence", "aof_enabled:1\r\n"),
        "airflow-worker": lambda: stack.broker.clients.__setitem__(0, client("get", "N")),
        "postgres": lambda: setattr(stack, "database", ConnectionRefusedError()),
        "mlflow": lambda: stack.web.answers.update({SEARCH: (500, {})}),
    }
    ways[name]()


def test_all_services_up(stack, served, visit):
    served.show(stack.round())
    seen = visit()
    assert seen.verdicts() == dict.fromkeys(NAMES, "up")
    assert seen.headline() == "All services are up"
    assert seen.ill_made() == []


@pytest.mark.parametrize("name", NAMES)
def test_a_service_that_is_down_is_the_headline(stack, served, visit, name):
    stop(stack, name)
    served.show(stack.round())
    seen = visit()
    silent = dict.fromkeys(BEATS, "unknown") if name == "postgres" else {}
    assert seen.verdicts() == dict.fromkeys(NAMES, "up") | silent | {name: "down"}
    assert (name in seen.headline()) == (not silent)
    assert seen.page.get_by_text(f"inv logs -s {name}").is_visible()
    assert seen.ill_made() == []


def test_all_services_down(stack, served, visit, nobody):
    stack.airflow_url = stack.mlflow_url = f"http://{nobody}"
    stack.database = ConnectionRefusedError()
    stack.broker.url = f"redis://:s3cret@{nobody}/0"  # pragma: allowlist secret
    served.show(stack.round())
    seen = visit()
    silent = dict.fromkeys([*BEATS, "airflow-worker"], "unknown")
    assert seen.verdicts() == dict.fromkeys(NAMES, "down") | silent
    assert seen.headline() == "Nothing is up"
    assert seen.ill_made() == []


def test_before_the_first_round_all_is_unknown(visit):
    seen = visit()
    assert seen.verdicts() == dict.fromkeys(NAMES, "unknown")
    assert seen.page.get_by_text("The first round is under way.").is_visible()
    assert seen.ill_made() == []


def test_services_that_hang_are_told_as_such(stack, served, visit):
    stack.web.answers = dict.fromkeys(stack.web.answers, (200, None))
    stack.database, stack.broker.hangs = None, True
    served.show(stack.round())
    seen = visit()
    assert "up" not in seen.verdicts().values()
    assert seen.page.get_by_text("no answer within 2 s").count() == len(NAMES)
    assert seen.ill_made() == []


def test_rounds_that_hang_make_an_open_page_unknown(stack, served, visit):
    clock, settings = FakeClock(), Settings.load({"REDIS_URL": "redis://x"})
    served.watch(Rounds(waiting(settings).board().round, 10, clock))
    served.show(stack.round())
    seen = visit()
    assert "unknown" not in seen.verdicts().values()
    clock.now += 31
    seen.page.get_by_text("stale: the last round is 31 s old").first.wait_for()
    assert seen.verdicts() == dict.fromkeys(NAMES, "unknown")
    assert seen.ill_made() == []


@pytest.mark.parametrize("junk", JUNK)
def test_junk_from_everybody_is_shown_as_no_service(stack, served, visit, junk):
    stack.web.answers = dict.fromkeys(stack.web.answers, (200, junk))
    stack.database = junk.decode()
    stack.broker.persistence, stack.broker.clients = "", [client("get", "N")]
    served.show(stack.round())
    seen = visit()
    assert "up" not in seen.verdicts().values()
    assert seen.ill_made() == []
