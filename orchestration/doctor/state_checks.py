"""Check the state of the machine, the engine and the services, without reading logs."""

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from stat import S_IMODE

import requests

from orchestration.clients import accounts
from orchestration.clients.status_page import OTHER_STACK_FIX
from orchestration.doctor.config_drift import OVERRIDE
from orchestration.engines.base import MANY_RESTARTS, PROXY, STOPPED, Runtime, Service
from orchestration.errors import Problem
from orchestration.health.report import Report, Row
from orchestration.host import file_modes
from orchestration.host.clocks import clock_problems
from orchestration.host.minimums import DISK_NEEDED_GIB
from orchestration.host.permissions import folder_problems
from orchestration.host.ports import port_problem
from orchestration.host.resources import Host, disk_problems
from orchestration.preflight import index_problems
from orchestration.settings.model import Settings
from orchestration.settings.validation import PORTS
from orchestration.tls import certificates

LEAST_FREE_GIB = 2
# Their memory limits do not depend on the machine and are set in the compose file.
FIXED_MEMORY = ("redis", "status", "tls")
# Bad results of the work, with code, subject of the cause, fix and place of the problem.
RESULTS = {
    "canary": ("canary-waited", "The last canary", "inv health --deep", "canary"),
    "dag-files": ("dag-import-errors", "DAG files", "nox -s dag_lint", "dags/"),
    "stale-dags": ("dags-stale", "DAG files", "inv restart -s airflow-dag-processor", "dags/"),
    "silent-tasks": (
        "task-silent", "Running tasks", "inv restart -s airflow-scheduler", "airflow-scheduler",
    ),
    "waiting-tasks": (
        "tasks-wait", "Tasks", "Fix what it names (how: docs/troubleshooting.md).", "tasks",
    ),
    "queues": (
        "queue-unserved", "Queues", "Remove `queue` from the tasks, then clear the tasks.", "dags/",
    ),
    "triggers": (
        "triggers-wait", "Triggers of deferred tasks", "inv restart -s airflow-triggerer",
        "airflow-triggerer",
    ),
    "patches": (
        "patch-inactive", "Patches of Airflow or MLflow",
        "Install the pinned versions with inv rebuild (effects: docs/patches.md).", "services",
    ),
}  # fmt: skip
# A worker may need this long after its start to connect to the queue.
STARTING = timedelta(seconds=120)
# Older restarts and failures do not explain the present state.
RECENT = timedelta(minutes=10)


def check_env_file(settings: Settings) -> Iterator[Problem]:
    """Yield what is unsafe about .env: its permissions, weak secrets, unprotected pages."""
    path = settings.root / ".env"
    if path.exists() and S_IMODE(path.stat().st_mode) & 0o077:
        cause = "Other users can read .env and its secrets."
        yield Problem("env-readable", cause, "chmod 600 .env", ".env")
    yield from settings.safety_problems()


def check_certificate(settings: Settings) -> Iterator[Problem]:
    """Yield a certificate that cannot be used or expires soon."""
    yield from certificates.problems(settings)
    ends = certificates.expiry(settings) if settings.tls else None
    if ends and ends - datetime.now(UTC) < certificates.ENDS_SOON:
        own = certificates.own_certificate(settings)
        fix = f"Renew {own[0]}, then run: inv up" if own else "inv up"
        cause = f"The certificate of the pages expires on {ends:%Y-%m-%d}."
        yield Problem("certificate-ends-soon", cause, fix, "tls")


def check_host(settings: Settings, host: Host, *, built: bool) -> Iterator[Problem]:
    """Yield problems of folders, clocks and disks, and of what a build would download."""
    yield from (*host.problems, *folder_problems(settings), *clock_problems(host))
    if built and settings.engine == "docker":
        yield from file_modes.unopened(settings)
    # Running a stack needs less space than building it.
    yield from disk_problems(host.folders, LEAST_FREE_GIB if built else DISK_NEEDED_GIB)
    yield from index_problems(host)


def check_ports(settings: Settings, report: Report) -> Iterator[Problem]:
    """Yield the ports of stopped services that another program uses."""
    states = {row.name: row.state for row in report.services}
    stopped = [name for name in PORTS if states.get(PROXY, states.get(name)) in STOPPED]
    yield from filter(None, (port_problem(settings, service) for service in stopped))


def check_services(engine: Runtime, report: Report) -> Iterator[Problem]:
    """Yield services that were killed, restart repeatedly, are orphaned, or take no tasks."""
    rows = {row.name: row for row in report.services}
    if orphans := [name for name, row in rows.items() if row.state == "orphaned"]:
        cause = "Their supervisord was killed, so nothing restarts them."
        yield Problem("left-behind", cause, "inv up", ", ".join(orphans))
    for service in engine.ps():
        row = rows.get(service.name)
        if row and service.out_of_memory and not (row.healthy and _age(row) > RECENT):
            yield _out_of_memory(service.name)
        if row and _restarts_again(service, row):
            cause = f"{service.name} exited and was restarted {service.restarts} times."
            yield Problem("restarting-again", cause, f"inv logs -s {service.name}", service.name)
    worker = rows.get("airflow-worker")
    if worker and _takes_no_tasks(worker):
        cause = f"The worker is running but takes no tasks: {worker.detail}."
        yield Problem("deaf-worker", cause, "inv restart -s airflow-worker", worker.name)


def _out_of_memory(service: str) -> Problem:
    fix = "Raise SERVICE_MEMORY in .env, then run: inv up"
    if service in FIXED_MEMORY:
        fix = f"Raise mem_limit of {service} in {OVERRIDE}, then run: inv up"
    if service == "airflow-worker":
        fix = "Lower WORKER_CONCURRENCY in .env, then run: inv up"
    return Problem(
        "out-of-memory", f"{service} was killed because it used too much memory.", fix, service
    )


def _restarts_again(service: Service, row: Row) -> bool:
    if row.healthy or service.restarts < MANY_RESTARTS or service.state in STOPPED:
        return False
    return _age(row) < RECENT


def _takes_no_tasks(worker: Row) -> bool:
    if worker.healthy or worker.state != "running" or _age(worker) < STARTING:
        return False
    # The verdict is unknown if Redis is unavailable, which says nothing about the worker.
    return worker.verdict in ("down", "degraded")


def _age(row: Row) -> timedelta:
    """Return how long ago a service was started, or timedelta.max if that is unknown."""
    return datetime.now(UTC) - datetime.fromisoformat(row.since) if row.since else timedelta.max


def check_work(report: Report) -> Iterator[Problem]:
    """Yield failed pipelines, bad results of RESULTS, and a full disk."""
    for work in report.work:
        if work.dag and work.state == "down":
            cause = f"Its last run {work.detail}."
            yield Problem("run-failed", cause, f"inv trigger {work.dag} --wait", work.dag)
        elif work.name in RESULTS and work.state in ("degraded", "down"):
            name, subject, fix, where = RESULTS[work.name]
            yield Problem(name, f"{subject}: {work.detail}.", fix, where)
        elif work.name == "disk" and work.state in ("degraded", "down"):
            yield Problem("disk-full", f"The disk is {work.detail}.", "inv clean", "machine")


def check_pages(report: Report) -> Iterator[Problem]:
    """Yield pages of healthy services that cannot be reached from this machine."""
    rows = {row.name: row for row in report.services}
    for check in report.checks:
        if check.other_stack:
            yield Problem("other-stack", f"{check.detail}.", OTHER_STACK_FIX, check.name)
        elif check.name == "engine":
            fix = "Fix what it names, then run: inv up"
            yield Problem("engine-refuses", check.detail, fix, "engine")
        elif not check.healthy and rows.get(check.name) and rows[check.name].healthy:
            forbidden = check.name == "mlflow" and check.status_code == HTTPStatus.FORBIDDEN
            code = "host-header-refused" if forbidden else "page-unreachable"
            cause = (
                f"{check.name} is healthy, but its page fails from this machine: {check.detail}."
            )
            yield Problem(code, cause, "inv up", check.name)


def check_accounts(settings: Settings, report: Report) -> Iterator[Problem]:
    """Yield MLflow accounts whose password is not the one in .env, if MLflow answers."""
    if not any(check.name == "mlflow" and check.latency_ms is not None for check in report.checks):
        return
    for name, setting in accounts.PASSWORDS.items():
        with suppress(requests.RequestException):
            if accounts.password_rejected(settings, name):
                # Users change the admin password in the UI on purpose, so it is kept.
                fix = f"Set {setting} in .env to its password, then run: inv up"
                if name != accounts.ADMIN:
                    fix = "inv rebuild -s mlflow-migrate"
                cause = f"MLflow rejects its account {name}: {setting} in .env is not its password."
                yield Problem("mlflow-password", cause, fix, "mlflow")


def check_stopped(report: Report) -> Iterator[Problem]:
    """Yield services that are stopped, paused or unhealthy."""
    unhealthy = [row for row in report.services if not row.healthy]
    alive = [row for row in report.services if row.state not in STOPPED]
    if report.services and not alive:
        yield Problem("stack-down", "Nothing is running.", "inv up", "all services")
        return
    for row in unhealthy:
        logs = f"inv logs -s {row.name}"
        if row.state == "exited" and row.detail != "exited":
            yield Problem("one-shot-failed", f"{row.name} failed: {row.detail}.", logs, row.name)
        elif row.state in STOPPED:
            yield Problem("service-stopped", f"{row.name} is not running.", "inv up", row.name)
        elif row.state == "paused":
            unpause = "(cd orchestration && docker compose unpause)"
            yield Problem("service-paused", f"{row.name} is paused.", unpause, row.name)
        elif row.state != "orphaned":
            yield Problem(
                "service-not-well", f"{row.name} is unhealthy: {row.detail}.", logs, row.name
            )
