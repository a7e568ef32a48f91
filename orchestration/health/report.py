"""Build the health report from the engine's state and the services' own status."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import requests

from orchestration.clients import accounts, http
from orchestration.clients.status_page import (
    OTHER_STACK_FIX,
    Work,
    other_owner,
    stale_files,
    verdicts,
    work,
)
from orchestration.engines.base import PROXY, Runtime, Service
from orchestration.errors import StackError, next_step
from orchestration.health import stale_dags
from orchestration.health.dependencies import depth
from orchestration.settings.model import Settings

TIMEOUT_SECONDS = 3
# Fields of rows and checks that `inv health --json` leaves out.
INTERNAL = {"verdict", "status_code", "other_stack"}
# Results that describe models and their data. They are no fault of a DAG or of the stack.
MODELS = {"champion", "challenger", "drift"}
NOT_STARTED = ("absent", "created", "orphaned")
# A request to each published service whose answer proves more than an open port.
ENDPOINTS = {
    "airflow-apiserver": ("AIRFLOW_PORT", "GET", "/api/v2/version", None),
    "mlflow": ("MLFLOW_PORT", "POST", "/api/2.0/mlflow/experiments/search", {"max_results": 1}),
    "status": ("STATUS_PORT", "GET", "/status.json", None),
}


@dataclass(frozen=True)
class Check:
    """The result of one request; `latency_ms` is None if there was no answer."""

    name: str
    healthy: bool
    latency_ms: float | None
    detail: str
    status_code: int | None = None
    # Whether another stack answers at the ports of these settings.
    other_stack: bool = False


@dataclass(frozen=True)
class Row:
    """The state of one service."""

    name: str
    state: str
    healthy: bool
    since: str | None
    restarts: int
    memory_bytes: int | None
    detail: str
    # The status page's verdict: up, degraded, down or unknown; blank if there is none.
    verdict: str = ""


@dataclass(frozen=True)
class Report:
    """The state of the stack at one moment."""

    engine: str
    services: list[Row]
    checks: list[Check]
    # Bad results make the stack degraded, but not its services unhealthy: they block no command.
    work: list[Work] = field(default_factory=list)

    @property
    def parts(self) -> list[Row | Check]:
        """Everything that can be healthy or unhealthy."""
        return [*self.services, *self.checks]

    @property
    def status(self) -> str:
        """Healthy if all parts and the work are, down if no healthy service is running.

        Otherwise it is degraded.
        """
        if not self.unhealthy() and not self.bad_work():
            return "healthy"
        runs = any(row.healthy and row.state == "running" for row in self.services)
        return "degraded" if runs else "down"

    def as_dict(self) -> dict[str, Any]:
        """Return the document of `inv health --json`."""
        return {
            "status": self.status,
            "engine": self.engine,
            "services": [_public(row) for row in self.services],
            "checks": [_public(check) for check in self.checks],
            "work": [asdict(entry) for entry in self.work],
        }

    def unhealthy(self) -> list[Row | Check]:
        """Return the unhealthy services and checks."""
        return [part for part in self.parts if not part.healthy]

    def bad_work(self) -> list[Work]:
        """Return failed runs, DAG files with errors and other bad results, without models'."""
        bad = ("down", "degraded")
        return [
            entry
            for entry in self.work
            if entry.state in bad and entry.name.partition(" ")[0] not in MODELS
        ]


def _public(part: Row | Check) -> dict[str, Any]:
    return {name: value for name, value in asdict(part).items() if name not in INTERNAL}


def collect(settings: Settings, engine: Runtime, *, memory: bool = False) -> Report:
    """Query the engine and the services in parallel, each with a limit of some seconds.

    Never raises for an engine or service that does not answer: it is reported as a failed check.
    """
    with ThreadPoolExecutor() as pool:
        probes = [pool.submit(probe, settings, name) for name in ENDPOINTS]
        memory_query = pool.submit(engine.memory) if memory else None
        try:
            services = engine.ps()
            memory_use = memory_query.result() if memory_query else {}
        except (StackError, requests.RequestException) as error:
            reason = error.reason if isinstance(error, StackError) else str(error)
            checks = [Check("engine", False, None, reason), *(p.result()[0] for p in probes)]
            return Report(engine.name, [], checks)
    checks = [each.result()[0] for each in probes]
    # The status page is the last of ENDPOINTS.
    document = probes[-1].result()[1]
    if document and (owner := other_owner(document, settings)):
        checks, document = _of_other_stack(settings, checks, owner), {}
    by_name = {check.name: check for check in checks}
    page = verdicts(document)
    rows = [
        replace(row(service, page, by_name), memory_bytes=memory_use.get(service.name))
        for service in services
    ]
    stale = stale_dags.check(stale_files(document), settings.project_dir / "dags")
    return Report(engine.name, rows, checks, [*work(document), *stale])


def _of_other_stack(settings: Settings, checks: list[Check], owner: str) -> list[Check]:
    """Return the checks without those that passed against another stack."""
    url = settings.url("STATUS_PORT")
    detail = f"{url}: {owner} answers here"
    return [
        replace(one, healthy=False, detail=detail, other_stack=True) if one.healthy else one
        for one in checks
    ]


def probe(settings: Settings, name: str) -> tuple[Check, dict[str, Any]]:
    """Send a published service its request; return the check and the JSON answer, or {}."""
    port, method, path, body = ENDPOINTS[name]
    try:
        with http.session(settings) as session:
            # MLflow is read with the status page's account, which is read-only.
            reader = accounts.login(settings, accounts.READER) if name == "mlflow" else None
            session.auth = reader or http.credentials(settings, port)
            address = settings.url(port) + path
            answer = session.request(method, address, json=body, timeout=TIMEOUT_SECONDS)
        document = answer.json()
        if not isinstance(document, dict):
            raise ValueError("not an object")
    except (requests.RequestException, ValueError) as error:
        return Check(name, False, None, f"{settings.url(port)}: {_reason(error)}"), {}
    # The status page answers 503 if the stack is unhealthy, although the page itself works.
    healthy = answer.ok or (name == "status" and "services" in document)
    latency = round(answer.elapsed.total_seconds() * 1000, 1)
    detail = f"{settings.url(port)}: HTTP {answer.status_code}"
    return Check(name, healthy, latency, detail, answer.status_code), document


def row(service: Service, verdicts: dict[str, dict[str, Any]], checks: dict[str, Check]) -> Row:
    """Return a service's row: healthy if it is running and its verdict on the status page is up.

    The container's health check is ignored because it can be one interval behind the status page.
    """
    healthy, detail = service.state == "running", service.state
    if service.is_init_job:
        healthy = service.state == "exited" and service.exit_code == 0
        result = f"exited, exit code {service.exit_code}" if service.exit_code else "done"
        detail = result if service.state == "exited" else service.state
    elif healthy:
        healthy, detail = _verdict(service, verdicts, checks)
        if healthy and service.restarts_repeatedly:
            # It may answer in the seconds between two restarts.
            healthy, detail = False, f"restarted {service.restarts} times, the last time just now"
    return Row(
        service.name,
        service.state,
        healthy,
        service.since.isoformat() if service.since else None,
        service.restarts,
        None,
        detail,
        verdicts.get(service.name, {}).get("state", ""),
    )


def uptime(row: Row) -> str:
    """Return how long a service has been in its state, such as `5 min`; blank if unknown."""
    return age(row.since) if row.since else ""


def age(time: str) -> str:
    """Return how long ago an ISO 8601 time was, in one unit: `5 min`."""
    seconds = int((datetime.now(UTC) - datetime.fromisoformat(time)).total_seconds())
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{max(seconds, 0)} s"


def explain(report: Report, engine: Runtime, lines: int = 8) -> str:
    """Return what is unhealthy and why, the last log lines of one service, and the next command."""
    unhealthy = sorted(report.unhealthy(), key=_cause_first)
    reasons = [f"{part.name}: {part.detail}" for part in (*unhealthy, *report.bad_work())]
    if not unhealthy:
        return "\n".join([*reasons, next_step("inv doctor")]) if reasons else ""
    if any(check.other_stack for check in report.checks):
        return "\n".join([*reasons, OTHER_STACK_FIX])
    # Prefer a service that is known to be down: others may only wait for it.
    rows = [part for part in unhealthy if isinstance(part, Row)]
    first = min(rows, key=_cause_first, default=None)
    if first is None or first.state in NOT_STARTED:
        return "\n".join([*reasons, next_step("inv up")])
    log = last_log_lines(engine, first.name, lines)
    return "\n".join([*reasons, *log, next_step(f"inv logs -s {first.name}")])


def _cause_first(part: Row | Check) -> tuple[int, int]:
    if isinstance(part, Check):
        return (2, 0) if part.name != "engine" else (0, 0)
    is_down = part.state != "running" or part.verdict == "down"
    return (0 if is_down else 1), depth(part.name)


def last_log_lines(engine: Runtime, service: str, lines: int) -> Iterable[str]:
    """Return a service's last log lines, indented below a heading; none if there is no log."""
    try:
        log = engine.tail(service, lines)
    except StackError:
        return []
    return [f"Last lines of {service}:", *(f"  {line}" for line in log.splitlines())] if log else []


def _verdict(
    service: Service, verdicts: dict[str, dict[str, Any]], checks: dict[str, Check]
) -> tuple[bool, str]:
    if service.name == "status":
        check = checks["status"]
        return check.healthy, "answers" if check.healthy else check.detail
    if service.name == PROXY:
        answers = any(check.latency_ms is not None for check in checks.values())
        return answers, "answers with TLS" if answers else "no page answers through it"
    verdict = verdicts.get(service.name)
    if verdict is None and verdicts:
        # A service of the user's override file, which the page does not know.
        return service.health in ("", "healthy"), service.health or service.state
    if verdict is None:
        known = checks["status"].other_stack
        return False, f"unknown: the status page {'is not ours' if known else 'does not answer'}"
    seen, since = verdict.get("last_seen"), service.since
    if verdict["state"] == "up" and seen and since and datetime.fromisoformat(seen) < since:
        return False, "started, not checked yet"
    return verdict["state"] == "up", verdict["detail"] or verdict["state"]


def _reason(error: Exception) -> str:
    if isinstance(error, requests.Timeout):
        return f"no answer within {TIMEOUT_SECONDS} s"
    if isinstance(error, requests.exceptions.SSLError):
        return "unexpected certificate"
    return (
        "refused"
        if isinstance(error, requests.ConnectionError)
        else "the answer is not a JSON object"
    )
