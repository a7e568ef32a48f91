"""Freeze each service, which its health check must restart, and measure the cost of the checks."""

import time

import psutil
import pytest

from orchestration.engines.docker import daemon
from tests.e2e.clone import SERVICES, until
from tests.e2e.faults import pid_of, restart_count, seconds_until_work_flows

# Failures of a health check do not count before this.
STARTING_SECONDS = 120
CHECKS_SHARE = 0.02
REPEATS = 20
NANOSECONDS = 1e9


@pytest.mark.parametrize("service", sorted(SERVICES["docker"]))
def test_frozen_service_is_restarted(stack, figures, service):
    """Suspend the children of PID 1. The health check kills the service, Docker restarts it."""
    first, before = psutil.Process(pid_of(stack, service)), restart_count(stack, service)
    until(lambda: time.time() - first.create_time() > STARTING_SECONDS + 5, STARTING_SECONDS + 10)
    for child in first.children():
        child.suspend()
    started = time.monotonic()
    until(lambda: restart_count(stack, service) > before, 300)
    figures["restarted after"] = time.monotonic() - started
    figures["work flows after"] = seconds_until_work_flows(stack)


def test_all_health_checks_use_less_than_two_percent_of_a_core(stack, figures):
    """Run each check repeatedly. Its cost includes Docker's own work."""
    shares = {}
    for service in sorted(SERVICES["docker"]):
        container = daemon.client().containers.get(stack.container(service))
        check = container.attrs["Config"]["Healthcheck"]
        seconds = cpu_seconds(container, check["Test"][1:])
        shares[service] = seconds / (check["Interval"] / NANOSECONDS)
        figures[service] = seconds * 1000
    figures["share"] = sum(shares.values())
    assert figures["share"] < CHECKS_SHARE


def cpu_seconds(container, argv):
    """Return the CPU seconds of one check, beyond the machine's usual load."""
    began, before = time.monotonic(), busy_seconds()
    for _ in range(REPEATS):
        assert container.exec_run(argv).exit_code == 0
    duration, with_checks = time.monotonic() - began, busy_seconds() - before
    before = busy_seconds()
    time.sleep(duration)
    return (with_checks - (busy_seconds() - before)) / REPEATS


def busy_seconds():
    """Return the CPU seconds of this machine since its boot, without those of these tests."""
    times, own = psutil.cpu_times(), psutil.Process().cpu_times()
    return times.user + times.system + times.irq + times.softirq - own.user - own.system
