"""The board: overall status, start of each state, history of the last hour, staleness."""

import pytest

from status.board import HISTORY_MINUTES, History, Rounds
from status.metadata import Metadata
from status.models import Models
from status.probes import Round
from status.verdict import Verdict
from tests.support.clock import FakeClock


@pytest.fixture
def clock():
    return FakeClock(120)


def services(mlflow, triggerer):
    return [Verdict("mlflow", mlflow, "-"), Verdict("airflow-triggerer", triggerer, "-")]


@pytest.fixture
def rounds(clock):
    initial = Round(services("unknown", "unknown"), [Verdict("drift", "unknown", "-")])
    return Rounds(initial, interval=10, clock=clock)


def record(rounds, mlflow="up", triggerer="up", drift="up"):
    work = [Verdict("drift", drift, "-"), Verdict("canary", "none", "-")]
    rounds.record(Round(services(mlflow, triggerer), work, Metadata(dags=3), Models(), 5))
    return rounds.board()


def test_board_before_the_first_round_is_unknown(rounds):
    board = rounds.board()
    assert board.checked_at is None
    assert board.status == "down"
    assert {service.verdict.state for service in board.services} == {"unknown"}
    assert {service.history for service in board.services} == {("",) * HISTORY_MINUTES}
    assert [one.state for one in board.round.work] == ["unknown"]


@pytest.mark.parametrize(
    ("mlflow", "triggerer", "status"),
    [
        ("up", "up", "healthy"),
        ("degraded", "up", "degraded"),
        ("up", "down", "degraded"),
        ("up", "unknown", "degraded"),
        ("down", "up", "down"),
        ("unknown", "up", "down"),
    ],
)
def test_status_is_down_only_for_essential_services(rounds, mlflow, triggerer, status):
    assert record(rounds, mlflow, triggerer).status == status


@pytest.mark.parametrize(
    ("drift", "attention"),
    [("down", ["drift"]), ("degraded", ["drift"]), ("up", []), ("unknown", []), ("running", [])],
)
def test_attention_lists_bad_results_without_changing_the_status(rounds, drift, attention):
    board = record(rounds, drift=drift)
    assert [one.name for one in board.attention] == attention
    assert board.status == "healthy"


def test_since_changes_only_with_the_state(rounds):
    first = record(rounds, "down").services[0].since
    assert record(rounds, "down").services[0].since == first
    assert record(rounds, "up").services[0].since > first


def test_board_after_three_intervals_is_unknown(rounds, clock):
    record(rounds)
    clock.now += 30
    assert rounds.board().status == "healthy"
    clock.now += 1
    board = rounds.board()
    assert board.status == "down"
    assert [service.verdict.state for service in board.services] == ["unknown"] * 2
    assert board.services[0].verdict.detail == "stale: last checked 31 s ago"
    assert (board.services[0].since - board.checked_at).total_seconds() == 30


def test_work_and_figures_of_a_stale_round_are_unknown(rounds, clock):
    assert record(rounds, drift="degraded").round.queue == 5
    clock.now += 31
    board = rounds.board()
    assert [(one.name, one.state) for one in board.round.work] == [
        ("drift", "unknown"),
        ("canary", "unknown"),
    ]
    assert {one.detail for one in board.round.work} == {"stale: last checked 31 s ago"}
    figures = (board.round.metadata, board.round.models, board.round.queue, board.round.disk)
    assert figures == (None,) * 4
    assert board.attention == []


def test_record_after_a_stale_round_is_healthy(rounds, clock):
    record(rounds)
    clock.now += 60
    assert rounds.board().status == "down"
    assert record(rounds).status == "healthy"


def test_history_is_kept_per_service(rounds, clock):
    record(rounds, "down", "up")
    clock.now += 60
    mlflow, triggerer = record(rounds, "up", "up").services
    assert mlflow.history[-3:] == ("", "down", "up")
    assert triggerer.history[-3:] == ("", "up", "up")


MINUTE_7 = [
    (["up", "down", "up"], "down"),
    (["down", "degraded", "up"], "down"),
    (["up", "degraded", "unknown"], "degraded"),
    (["unknown", "up"], "unknown"),
    (["up", "unknown"], "unknown"),
    (["up", "up"], "up"),
]
NOTHING = ("",) * HISTORY_MINUTES


@pytest.mark.parametrize(
    ("states", "minute", "end"),
    [
        # The worst state of a minute wins.
        *[([(7, state) for state in states], 7, ("", worst)) for states, worst in MINUTE_7],
        # Minutes without a round are unknown, such as 8. Minute 9 may still have one.
        ([(3, "up"), (7, "up")], 9, ("", "up", *["unknown"] * 3, "up", "unknown", "")),
        # The current minute is blank only until its first round.
        ([(6, "up")], 7, ("up", "")),
        ([(6, "up"), (7, "down")], 7, ("up", "down")),
        # Minutes before the first round are blank.
        ([(5, "down")], 5, (*NOTHING[1:], "down")),
        ([], 5, NOTHING),
        # Minutes older than an hour are dropped.
        ([(n, "down" if n < 40 else "up") for n in range(100)], 99, ("up",) * HISTORY_MINUTES),
        ([(0, "up")], 200, (*["unknown"] * (HISTORY_MINUTES - 1), "")),
    ],
)
def test_history_strip_shows_the_worst_state_of_each_minute(states, minute, end):
    history = History()
    for at, state in states:
        history.add(at, state)
    strip = history.strip(minute)
    assert (len(strip), strip[-len(end) :]) == (HISTORY_MINUTES, end)
