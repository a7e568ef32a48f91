"""Rounds: the sum of the verdicts, since when, and how they grow stale."""

import pytest

from status.board import Rounds
from status.verdict import Verdict


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def rounds(clock):
    return Rounds(["mlflow", "airflow-triggerer"], interval=10, clock=clock)


def record(rounds, mlflow="up", triggerer="up"):
    rounds.record(
        [Verdict("mlflow", mlflow, "said"), Verdict("airflow-triggerer", triggerer, "said")]
    )
    return rounds.board()


def test_before_the_first_round_nothing_is_known(rounds):
    board = rounds.board()
    assert board.checked_at is None
    assert board.status == "down"
    assert {shown.verdict.state for shown in board.services} == {"unknown"}


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


def test_a_new_round_ends_staleness(rounds, clock):
    record(rounds)
    clock.now += 60
    assert rounds.board().status == "down"
    assert record(rounds).status == "healthy"
