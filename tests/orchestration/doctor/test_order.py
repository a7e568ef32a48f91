"""Test that problems are ordered from cause to symptom."""

import random

from orchestration.doctor.order import causes_first
from orchestration.errors import Problem

EXPECTED = [
    ("folder-rights", "machine"),
    ("service-stopped", "postgres"),
    ("one-shot-failed", "airflow-init"),
    ("restarting-again", "airflow-apiserver"),
    ("deaf-worker", "airflow-worker"),
    ("triggers-wait", "airflow-triggerer"),
    ("weak-secret", ".env"),
]


def test_causes_first_orders_by_what_services_need():
    problems = [Problem(code, "It failed.", "Fix it.", where) for code, where in EXPECTED]
    shuffled = random.Random(7).sample(problems, len(problems))
    ordered = causes_first(shuffled, unrelated=("weak-secret",))
    assert [(one.code, one.where) for one in ordered] == EXPECTED


def test_causes_first_ranks_a_problem_of_several_services_by_the_first_needed():
    both = Problem("left-behind", "They run.", "inv up", "airflow-worker, postgres")
    job = Problem("one-shot-failed", "It failed.", "Read it.", "airflow-init")
    assert causes_first([job, both], ()) == [both, job]


def test_causes_first_keeps_the_order_of_equals():
    problems = [Problem(code, "It.", "Fix it.", "machine") for code in ("b", "a", "c")]
    assert causes_first(problems, ()) == problems
