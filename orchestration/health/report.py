"""Is it well? What the engine knows of each service, joined with what the services say."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import requests

from orchestration.clients import accounts, http
from orchestration.clients.status_page import Work, verdicts, work
from orchestration.engines.base import PROXY, Runtime, Service
from orchestration.errors import StackError, next_step
from orchestration.settings.model import Settings

PATIENCE_SECONDS = 3
# Fields of rows and checks that are not part of the document for machines.
INTERNAL = {"verdict", "status_code"}
NOT_STARTED = ("absent", "created", "orphaned")
# What answers on this machine, and the question whose answer proves more than an open port.
REACHED = {
    "airflow-apiserver": ("AIRFLOW_PORT", "GET", "/api/v2/version", None),
    "mlflow": ("MLFLOW_PORT", "POST", "/api/2.0/mlflow/experiments/search", {"max_results": 1}),
    "status": ("STATUS_PORT", "GET", "/status.json", None),
}


@dataclass(frozen=True)
class Check:
    """The answer to one question; `latency_ms` is None where nothing answered."""

    name: str
    healthy: bool
    latency_ms: float | None
    detail: str
    status_code: int | None = None


@dataclass(frozen=True)
class Row:
    """One service as people and machines read it."""

    name: str
    state: str
    healthy: bool
    since: str | None
    restarts: int
    memory_bytes: int | None
    detail: str
    # What the status page says of it: up, degraded, down, unknown; blank where it was not asked.
    verdict: str = ""


@dataclass(frozen=True)
class Report:
    """The stack at one moment."""

    engine: str
    services: list[Row]
    checks: list[Check]
    # Told, not counted: a run that failed does not make the stack that ran it unwell.
    work: list[Work] = field(default_factory=list)

    @property
    def parts(self) -> list[Row | Check]:
        """All that can be well or not."""
        return [*self.services, *self.checks]

    @property
    def status(self) -> str:
        """healthy: all is well; down: nothing runs; degraded: anything between."""
        if all(part.healthy for part in self.parts):
            return "healthy"
        runs = any(row.healthy and row.state == "running" for row in self.services)
        return "degraded" if runs else "down"

    def as_dict(self) -> dict[str, Any]:
        """The document of `inv health --json`."""
        return {
            "status": self.status,
            "engine": self.engine,
            "services": [_public(row) for row in self.services],
            "checks": [_public(check) for check in self.checks],
            "work": [asdict(each) for each in self.work],
        }

    def waiting(self) -> list[Row | Check]:
        """What is not well."""
        return [part for part in self.parts if not part.healthy]


def _public(part: Row | Check) -> dict[str, Any]:
    return {name: value for name, value in asdict(part).items() if name not in INTERNAL}


def look(settings: Settings, engine: Runtime, *, memory: bool = False) -> Report:
    """Ask the engine and the services side by side, each within seconds.

    Never raises: an engine or service that does not answer is a check that is not healthy.
    """
    with ThreadPoolExecutor() as pool:
        asked = [pool.submit(reach, settings, name) for name in REACHED]
        held = pool.submit(engine.memory) if memory else None
        try:
            services = engine.ps()
            bytes_held = held.result() if held else {}
        except (StackError, requests.RequestException) as error:
            reason = error.reason if isinstance(error, StackError) else str(error)
            checks = [Check("engine", False, None, reason), *(a.result()[0] for a in asked)]
            return Report(engine.name, [], checks)
    checks = [each.result()[0] for each in asked]
    document, answers = asked[-1].result()[1], {check.name: check for check in checks}
    said = verdicts(document)
    rows = [
        replace(row(service, said, answers), memory_bytes=bytes_held.get(service.name))
        for service in services
    ]
    return Report(engine.name, rows, checks, work(document))


def reach(settings: Settings, name: str) -> tuple[Check, dict[str, Any]]:
    """Ask one published service its question; the check and the answer's JSON (empty if none)."""
    port, method, path, body = REACHED[name]
    try:
        with http.session(settings) as session:
            # At MLflow the status page's own account, which may only read.
            reader = accounts.login(settings, accounts.READER) if name == "mlflow" else None
            session.auth = reader or http.account(settings, port)
            address = settings.url(port) + path
            answer = session.request(method, address, json=body, timeout=PATIENCE_SECONDS)
        document = answer.json()
        if not isinstance(document, dict):
            raise ValueError("not an object")
    except (requests.RequestException, ValueError) as error:
        return Check(name, False, None, f"{settings.url(port)}: {_reason(error)}"), {}
    # The status page answers 503 for the stack it watches; that it answers is what counts here.
    well = answer.ok or (name == "status" and "services" in document)
    latency = round(answer.elapsed.total_seconds() * 1000, 1)
    detail = f"{settings.url(port)}: HTTP {answer.status_code}"
    return Check(name, well, latency, detail, answer.status_code), document


def row(service: Service, said: dict[str, dict[str, Any]], answers: dict[str, Check]) -> Row:
    """A service's line: it must run and be up by what it says itself.

    The container's own check is left out: it may lag by an interval behind that.
    """
    healthy, detail = service.state == "running", service.state
    if service.one_shot:
        healthy = service.state == "exited" and service.exit_code == 0
        ended = f"exited, exit code {service.exit_code}" if service.exit_code else "done"
        detail = ended if service.state == "exited" else service.state
    elif healthy:
        healthy, detail = _said(service, said, answers)
    return Row(
        service.name,
        service.state,
        healthy,
        service.since.isoformat() if service.since else None,
        service.restarts,
        None,
        detail,
        said.get(service.name, {}).get("state", ""),
    )


def uptime(row: Row) -> str:
    """How long a service is in its state, in words of one unit."""
    return age(row.since) if row.since else ""


def age(moment: str) -> str:
    """How long ago an ISO 8601 moment was, in words of one unit."""
    seconds = int((datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds())
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{max(seconds, 0)} s"


def explain(report: Report, engine: Runtime, lines: int = 8) -> str:
    """Which service is not well, why, its last log lines, and the next command."""
    bad = report.waiting()
    if not bad:
        return ""
    told = [f"{part.name}: {part.detail}" for part in bad]
    # One that does not run is what those that do wait for.
    rows = sorted(
        (part for part in bad if isinstance(part, Row)), key=lambda row: row.state == "running"
    )
    first = next(iter(rows), None)
    if first is None or first.state in NOT_STARTED:
        return "\n".join([*told, next_step("inv up")])
    words = last_words(engine, first.name, lines)
    return "\n".join([*told, *words, next_step(f"inv logs -s {first.name}")])


def last_words(engine: Runtime, service: str, lines: int) -> Iterable[str]:
    """The last log lines of a service, indented, under a heading; nothing where there are none."""
    try:
        said = engine.tail(service, lines)
    except StackError:
        return []
    return (
        [f"last lines of {service}:", *(f"  {line}" for line in said.splitlines())] if said else []
    )


def _said(
    service: Service, said: dict[str, dict[str, Any]], answers: dict[str, Check]
) -> tuple[bool, str]:
    if service.name == "status":
        check = answers["status"]
        return check.healthy, "answers" if check.healthy else check.detail
    if service.name == PROXY:
        through = any(check.latency_ms is not None for check in answers.values())
        return through, "answers with TLS" if through else "no page answers through it"
    verdict = said.get(service.name)
    if verdict is None:
        return False, "unknown: the status page does not answer"
    seen = verdict.get("last_seen")
    if (
        verdict["state"] == "up"
        and seen
        and service.since
        and datetime.fromisoformat(seen) < service.since
    ):
        return False, "started since, not heard of yet"
    return verdict["state"] == "up", verdict["detail"] or verdict["state"]


def _reason(error: Exception) -> str:
    if isinstance(error, requests.Timeout):
        return f"no answer within {PATIENCE_SECONDS} s"
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate is not the one that is expected"
    return "refused" if isinstance(error, requests.ConnectionError) else "no JSON in the answer"
