"""Rounds: the sum of the verdicts, since when, their last hour, and how they grow stale."""

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
    return [Verdict("mlflow", mlflow, "said"), Verdict("airflow-triggerer", triggerer, "said")]


@pytest.fixture
def rounds(clock):
    waiting = Round(services("unknown", "unknown"), [Verdict("drift", "unknown", "not asked yet")])
    return Rounds(waiting, interval=10, clock=clock)


def record(rounds, mlflow="up", triggerer="up", drift="up"):
    work = [Verdict("drift", drift, "said"), Verdict("canary", "none", "said")]
    rounds.record(Round(services(mlflow, triggerer), work, Metadata(dags=3), Models(), 5))
    return rounds.board()


def test_before_the_first_round_nothing_is_known(rounds):
    board = rounds.board()
    assert board.checked_at is None
    assert board.status == "down"
    assert {shown.verdict.state for shown in board.services} == {"unknown"}
    assert {shown.history for shown in board.services} == {("",) * HISTORY_MINUTES}
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
def test_the_sum_is_down_only_for_essential_services(rounds, mlflow, triggerer, status):
    assert record(rounds, mlflow, triggerer).status == status


@pytest.mark.parametrize(
    ("drift", "named"),
    [("down", ["drift"]), ("degraded", ["drift"]), ("up", []), ("unknown", []), ("running", [])],
)
def test_work_that_went_wrong_needs_attention_but_no_service_is_worse_for_it(rounds, drift, named):
    board = record(rounds, drift=drift)
    assert [one.name for one in board.attention] == named
    assert board.status == "healthy"


def test_since_stays_while_the_state_stays(rounds):
    first = record(rounds, "down").services[0].since
    assert record(rounds, "down").services[0].since == first
    assert record(rounds, "up").services[0].since > first


def test_a_round_older_than_three_intervals_proves_nothing(rounds, clock):
    record(rounds)
    clock.now += 30
    assert rounds.board().status == "healthy"
    clock.now += 1
    board = rounds.board()
    assert board.status == "down"
    assert [shown.verdict.state for shown in board.services] == ["unknown"] * 2
    assert board.services[0].verdict.detail == "stale: the last round is 31 s old"
    assert (board.services[0].since - board.checked_at).total_seconds() == 30


def test_work_and_figures_of_a_stale_round_prove_nothing_either(rounds, clock):
    assert record(rounds, drift="degraded").round.queue == 5
    clock.now += 31
    board = rounds.board()
    assert [(one.name, one.state) for one in board.round.work] == [
        ("drift", "unknown"),
        ("canary", "unknown"),
    ]
    assert {one.detail for one in board.round.work} == {"stale: the last round is 31 s old"}
    figures = (board.round.metadata, board.round.models, board.round.queue, board.round.disk)
    assert figures == (None,) * 4
    assert board.attention == []


def test_a_new_round_ends_staleness(rounds, clock):
    record(rounds)
    clock.now += 60
    assert rounds.board().status == "down"
    assert record(rounds).status == "healthy"


def test_each_service_carries_its_own_last_hour(rounds, clock):
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
    ("seen", "minute", "end"),
    [
        # The worst state of a minute wins.
        *[([(7, state) for state in states], 7, ("", worst)) for states, worst in MINUTE_7],
        # Minutes that nobody looked at are unknown: 8 went by; 9 may still be looked at.
        ([(3, "up"), (7, "up")], 9, ("", "up", *["unknown"] * 3, "up", "unknown", "")),
        # The running minute is blank only until it is looked at.
        ([(6, "up")], 7, ("up", "")),
        ([(6, "up"), (7, "down")], 7, ("up", "down")),
        # Before the first look there is nothing.
        ([(5, "down")], 5, (*NOTHING[1:], "down")),
        ([], 5, NOTHING),
        # What is older than an hour is forgotten.
        ([(n, "down" if n < 40 else "up") for n in range(100)], 99, ("up",) * HISTORY_MINUTES),
        ([(0, "up")], 200, (*["unknown"] * (HISTORY_MINUTES - 1), "")),
    ],
)
def test_the_last_hour_tells_each_minute_s_worst_state(seen, minute, end):
    history = History()
    for at, state in seen:
        history.add(at, state)
    told = history.strip(minute)
    assert (len(told), told[-len(end) :]) == (HISTORY_MINUTES, end)
