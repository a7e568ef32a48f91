"""What the state of the machine, the engine and the services tells, without reading a log."""

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from stat import S_IMODE

import requests

from orchestration import pending
from orchestration.clients import accounts
from orchestration.doctor.config_drift import OVERRIDE
from orchestration.engines.base import PROXY, Runtime, Service
from orchestration.errors import Problem, StackError
from orchestration.health.report import REACHED, Report, Row
from orchestration.host.clocks import clock_problems
from orchestration.host.minimums import PATIENCE_SECONDS
from orchestration.host.permissions import folder_problems
from orchestration.host.ports import unusable
from orchestration.host.resources import Host, disk_problems
from orchestration.settings.model import Settings
from orchestration.tls import certificates

LEAST_FREE_GIB = 2
# What needs little whatever the machine: their limits stand in the compose file.
OF_FIXED_MEMORY = ("redis", "status", "tls")
GONE = ("absent", "created", "exited", "dead")
# A worker that was started this short ago may still be on its way to the queue.
STARTING = timedelta(seconds=120)
# How often, and how short ago the last time was, where it may happen again at any moment.
OFTEN, LATELY = 3, timedelta(minutes=10)
DEAF = ("takes nothing from", "takes no more work", "no worker is connected")
ENGINES = {
    "older than": "engine-too-old",
    "no Docker engine answers": "engine-unreachable",
    "`docker compose` does not answer": "compose-missing",
}
HOSTS = {"may not": "folder-rights", "writ": "folder-rights", "no registry": "registry-unreachable"}


def of_text(name: str, problem: str, where: str) -> Problem:
    """A problem as preflight words it, its next command behind the last colon."""
    cause, _, fix = problem.rpartition(": ")
    return Problem(name, cause or problem, fix if cause else "inv install", where)


def _named(problem: str, names: dict[str, str], otherwise: str) -> str:
    return next((name for words, name in names.items() if words in problem), otherwise)


def of_engine(problem: str) -> Problem:
    """Why an engine cannot work here."""
    return of_text(_named(problem, ENGINES, "engine-unfit"), " ".join(problem.split()), "engine")


def of_env_file(settings: Settings) -> Iterator[Problem]:
    """Who may read .env, and secrets in it that can be guessed."""
    path = settings.root / ".env"
    if path.exists() and S_IMODE(path.stat().st_mode) & 0o077:
        yield Problem("env-readable", "others may read .env and its secrets", "chmod 600 .env",
                      ".env")  # fmt: skip
    try:
        settings.refuse_weak()
    except StackError as error:
        yield from (of_text("weak-secret", line, ".env") for line in str(error).splitlines())
    try:
        settings.refuse_exposed()
    except StackError as error:
        yield from (of_text("exposed", line, ".env") for line in str(error).splitlines())


def of_certificate(settings: Settings) -> Iterator[Problem]:
    """A certificate that cannot be used, or that ends soon."""
    for problem in certificates.problems(settings):
        yield of_text("certificate-unusable", problem, "certificates")
    ends = certificates.ends(settings) if settings.tls else None
    if ends and ends - datetime.now(UTC) < certificates.ENDS_SOON:
        own = certificates.given(settings)
        fix = f"renew {own[0]}, then: inv up" if own else "inv up"
        cause = f"the certificate of the pages ends on {ends:%Y-%m-%d}"
        yield Problem("certificate-ends-soon", cause, fix, "tls")


def of_unfinished(settings: Settings) -> Iterator[Problem]:
    """A restore or a rotation that was ended in its middle: what runs is not what will stay."""
    try:
        pending.refuse(settings)
    except StackError as error:
        name = "rotation" if "rotation" in str(error) else "restore"
        told = f"{str(error).partition(':')[0]}: inv up"
        yield of_text(f"{name}-unfinished", told, "databases")


def of_host(settings: Settings, host: Host, *, built: bool) -> Iterator[Problem]:
    """Folders, clocks, disks, and what a build would have to fetch."""
    for problem in (*host.problems, *folder_problems(settings)):
        yield of_text(_named(problem, HOSTS, "uid-unusable"), problem, "machine")
    for problem in clock_problems(host):
        yield of_text("clock-skewed", problem, "machine")
    for problem in disk_problems(host.places):
        # A stack that stands needs less than one that is to be built.
        if not built or float(problem.split()[0]) < LEAST_FREE_GIB:
            yield of_text("disk-full", problem, "machine")
    if host.index and host.index_ahead is None:
        cause = f"the package index {host.index} does not answer within {PATIENCE_SECONDS} s"
        fix = "set PYPI_INDEX_URL in .env or https_proxy, then: inv install"
        yield Problem("index-unreachable", cause, fix, "machine")


def of_ports(settings: Settings, report: Report) -> Iterator[Problem]:
    """Ports of services that do not run and that another program listens on."""
    states = {row.name: row.state for row in report.services}
    for service, (name, *_) in REACHED.items():
        address, port = settings["BIND_ADDRESS"], settings[name]
        if states.get(PROXY, states.get(service)) in GONE and (why := unusable(address, int(port))):
            way_out = "stop what listens there, or set" if "taken" in why else "set BIND_ADDRESS or"
            cause, fix = f"port {port} on {address} {why}", f"{way_out} {name} in .env"
            yield Problem("port-taken", cause, f"{fix}, then: inv up", service)


def of_services(engine: Runtime, report: Report) -> Iterator[Problem]:
    """Services that were ended, end again and again, were left behind, or are deaf."""
    rows = {row.name: row for row in report.services}
    if left := [name for name, row in rows.items() if row.state == "orphaned"]:
        cause = "their supervisord was killed, and nothing restarts them any more"
        yield Problem("left-behind", cause, "inv up", ", ".join(left))
    for service in engine.ps():
        row = rows.get(service.name)
        if row and service.out_of_memory and not (row.healthy and _age(row) > LATELY):
            yield _out_of_memory(service.name)
        if row and _restarts_again(service, row):
            cause = f"{service.name} ended by itself {service.restarts} times"
            yield Problem("restarting-again", cause, f"inv logs -s {service.name}", service.name)
    worker = rows.get("airflow-worker")
    if worker and _is_deaf(worker):
        cause = f"the worker runs and does not take tasks: {worker.detail}"
        yield Problem("deaf-worker", cause, "inv restart -s airflow-worker", worker.name)


def _out_of_memory(service: str) -> Problem:
    fix = "raise SERVICE_MEMORY in .env, then: inv up"
    if service in OF_FIXED_MEMORY:
        fix = f"raise mem_limit of {service} in {OVERRIDE}, then: inv up"
    if service == "airflow-worker":
        fix = "lower WORKER_CONCURRENCY in .env, then: inv up"
    return Problem("out-of-memory", f"{service} was killed for its memory", fix, service)


def _restarts_again(service: Service, row: Row) -> bool:
    if row.healthy or service.restarts < OFTEN or service.state in GONE:
        return False
    return _age(row) < LATELY


def _is_deaf(worker: Row) -> bool:
    if worker.healthy or worker.state != "running" or _age(worker) < STARTING:
        return False
    return any(words in worker.detail for words in DEAF)


def _age(row: Row) -> timedelta:
    """How long ago a service was started; for ever where nobody knows."""
    return datetime.now(UTC) - datetime.fromisoformat(row.since) if row.since else timedelta.max


def of_work(report: Report) -> Iterator[Problem]:
    """DAG files that do not import, and a disk that the status page calls full."""
    for work in report.work:
        if work.name == "dag-files" and work.state == "down":
            cause = f"of the DAG files {work.detail}"
            yield Problem("dag-import-errors", cause, "nox -s dag_lint", "dags/")
        if work.name == "disk" and work.state in ("degraded", "down"):
            yield Problem("disk-full", f"the disk is {work.detail}", "inv clean", "status")


def of_answers(report: Report) -> Iterator[Problem]:
    """Pages that are well by their own words and cannot be reached from here."""
    rows = {row.name: row for row in report.services}
    for check in report.checks:
        if check.name == "engine":
            fix = "mend what it names, then: inv up"
            yield Problem("engine-refuses", " ".join(check.detail.split()), fix, "engine")
        elif not check.healthy and rows.get(check.name) and rows[check.name].healthy:
            refused = check.name == "mlflow" and "403" in check.detail
            name = "host-header-refused" if refused else "page-unreachable"
            cause = f"{check.name} is well, and from this machine it is not: {check.detail}"
            yield Problem(name, cause, "inv up", check.name)


def of_accounts(settings: Settings, report: Report) -> Iterator[Problem]:
    """Accounts that MLflow refuses with the passwords of .env; nothing where it does not answer."""
    if not any(check.name == "mlflow" and check.latency_ms is not None for check in report.checks):
        return
    for name, setting in accounts.PASSWORDS.items():
        with suppress(requests.RequestException):
            if accounts.refused(settings, name):
                # Changed on purpose, and kept: people do that, in the UI.
                fix = f"write the one it has to {setting} in .env, then: inv up"
                if name != accounts.ADMIN:
                    fix = "inv rebuild -s mlflow-migrate"
                cause = f"MLflow refuses its account {name}: its password is not {setting} of .env"
                yield Problem("mlflow-password", cause, fix, "mlflow")


def of_what_is_down(report: Report) -> Iterator[Problem]:
    """What does not run or is not well, by its state alone."""
    rows = [row for row in report.services if not row.healthy]
    alive = [row for row in report.services if row.state not in GONE]
    if report.services and not alive:
        yield Problem("stack-down", "nothing runs", "inv up", "all services")
        return
    for row in rows:
        logs = f"inv logs -s {row.name}"
        if row.state == "exited" and row.detail != "exited":
            yield Problem("one-shot-failed", f"{row.name}: {row.detail}", logs, row.name)
        elif row.state in GONE:
            yield Problem("service-stopped", f"{row.name} does not run", "inv up", row.name)
        elif row.state == "paused":
            unpause = "(cd orchestration && docker compose unpause)"
            yield Problem("service-paused", f"{row.name} is paused", unpause, row.name)
        elif row.state != "orphaned":
            yield Problem("service-not-well", f"{row.name}: {row.detail}", logs, row.name)
