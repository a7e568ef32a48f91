"""Start a run every twenty seconds for twenty minutes, and check that no run fails or memory grows.

Run it by hand: `nox -s soak`.
"""

import time
from statistics import median

import pytest

from tests.e2e.faults import trigger

MINUTES, EVERY_SECONDS = 20, 20
# After the warm-up, in which every service has worked once, the first and last window are compared.
WARM_UP_MINUTES, WINDOW_MINUTES = 6, 3
GROWTH = 0.10


@pytest.mark.usefixtures("journal")
def test_soak_fails_no_run_and_grows_no_memory(stack, figures):
    runs, samples, began = [], [], time.monotonic()
    while (minutes := (time.monotonic() - began) / 60) < MINUTES:
        runs.append(trigger(stack, conf='{"seconds": 2}'))
        services = stack.health()["services"]
        samples.append((minutes, {s["name"]: s["memory_bytes"] for s in services}))
        time.sleep(max(0, len(runs) * EVERY_SECONDS - (time.monotonic() - began)))
    time.sleep(EVERY_SECONDS)
    succeeded = stack.airflow("/api/v2/dags/journal/dagRuns?limit=200&state=success")["dag_runs"]
    assert {run["dag_run_id"] for run in succeeded} == set(runs)
    for service in (name for name, used in samples[-1][1].items() if used):
        first = median_memory(samples, service, WARM_UP_MINUTES)
        figures[service] = median_memory(samples, service, MINUTES - WINDOW_MINUTES) / first - 1
    assert max(figures.values()) < GROWTH, figures


def median_memory(samples, service, start):
    """Return the median memory of a service in the window that begins at minute `start`."""
    window = [used[service] for at, used in samples if start <= at < start + WINDOW_MINUTES]
    return median(window)
