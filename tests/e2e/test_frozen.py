"""What is alive and useless ends itself by its own health check; what all of them cost."""

import time

import psutil
import pytest

from orchestration.engines.docker import daemon
from tests.e2e.clone import SERVICES, until
from tests.e2e.faults import pid_of, restarts, seconds_until_work_flows

# A check counts no miss before.
STARTING_SECONDS = 120
CHECKS_SHARE = 0.02
ASKED = 20
NANOSECONDS = 1e9


@pytest.mark.parametrize("service", sorted(SERVICES["docker"]))
def test_a_frozen_service_is_started_anew(stack, told, service):
    """What PID 1 started is stopped, not PID 1; its health check ends it, its policy starts it."""
    first, before = psutil.Process(pid_of(stack, service)), restarts(stack, service)
    until(lambda: time.time() - first.create_time() > STARTING_SECONDS + 5, STARTING_SECONDS + 10)
    for child in first.children():
        child.suspend()
    started = time.monotonic()
    until(lambda: restarts(stack, service) > before, 300)
    told["started anew after"] = time.monotonic() - started
    told["work flows after"] = seconds_until_work_flows(stack)


def test_all_checks_together_cost_less_than_two_percent_of_a_core(stack, told):
    """Each asked again and again, Docker's own work included, against as long without them."""
    shares = {}
    for service in sorted(SERVICES["docker"]):
        container = daemon.client().containers.get(stack.container(service))
        check = container.attrs["Config"]["Healthcheck"]
        seconds = seconds_of_processor(container, check["Test"][1:])
        shares[service] = seconds / (check["Interval"] / NANOSECONDS)
        told[service] = seconds * 1000
    told["share"] = sum(shares.values())
    assert told["share"] < CHECKS_SHARE


def seconds_of_processor(container, argv):
    """What one check costs this machine, beyond what it does anyway."""
    begun, before = time.monotonic(), busy()
    for _ in range(ASKED):
        assert container.exec_run(argv).exit_code == 0
    lasted, asked = time.monotonic() - begun, busy() - before
    before = busy()
    time.sleep(lasted)
    return (asked - (busy() - before)) / ASKED


def busy():
    """Seconds this machine's processors have worked, for others than these tests."""
    times, own = psutil.cpu_times(), psutil.Process().cpu_times()
    return times.user + times.system + times.irq + times.softirq - own.user - own.system
