"""By hand: a run every twenty seconds for twenty minutes; nothing fails and nothing grows."""

import time
from statistics import median

import pytest

from tests.e2e.faults import triggered

MINUTES, EVERY_SECONDS = 20, 20
# Until every service has done once what it does; then this much at each end is compared.
WARM_UP_MINUTES, WINDOW_MINUTES = 6, 3
GROWTH = 0.10


@pytest.mark.usefixtures("journal")
def test_nothing_fails_and_nothing_grows(stack, told):
    runs, held, began = [], [], time.monotonic()
    while (minutes := (time.monotonic() - began) / 60) < MINUTES:
        runs.append(triggered(stack, conf='{"seconds": 2}'))
        services = stack.health()["services"]
        held.append((minutes, {s["name"]: s["memory_bytes"] for s in services}))
        time.sleep(max(0, len(runs) * EVERY_SECONDS - (time.monotonic() - began)))
    time.sleep(EVERY_SECONDS)
    found = stack.airflow("/api/v2/dags/journal/dagRuns?limit=200&state=success")["dag_runs"]
    assert {run["dag_run_id"] for run in found} == set(runs)
    for service in (name for name, used in held[-1][1].items() if used):
        first = typical(held, service, WARM_UP_MINUTES)
        told[service] = typical(held, service, MINUTES - WINDOW_MINUTES) / first - 1
    assert max(told.values()) < GROWTH, told


def typical(held, service, since):
    """The median of what a service held for some minutes."""
    window = [used[service] for at, used in held if since <= at < since + WINDOW_MINUTES]
    return median(window)
