"""Diagnose known failures from state and logs: what is wrong, why, and one command to type.

Nothing is changed and no secret is printed: values are compared, log lines are never quoted.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import chain

from orchestration import pending
from orchestration.clients import object_store
from orchestration.doctor import config_drift, log_scan, state_checks
from orchestration.engines import factory
from orchestration.engines.base import Engine
from orchestration.errors import Problem, StackError, next_step
from orchestration.health import report as health_report
from orchestration.health.report import Report
from orchestration.host.drafts import load_or_draft
from orchestration.host.resources import Host
from orchestration.preflight import lost_env
from orchestration.process.background import in_background
from orchestration.project import Project
from orchestration.settings.model import SECRETS, Settings
from orchestration.settings.secret_strength import SHORTEST_PASSWORD

# What may be spent on a verdict where something else has failed already.
VERDICT_SECONDS = 10
# Told only where nothing is known of any service, or of this one.
VAGUE = ("service-not-well", "page-unreachable")
SYMPTOMS = (*VAGUE, "restarting-again", "one-shot-failed", "service-stopped")
# True of any stack that has just failed to come up.
EXPECTED = (*SYMPTOMS, "stack-down", "not-installed", "could-not-look")
# Worth mending, and no reason for anything else.
ASIDE = ("env-readable", "dag-import-errors", "weak-secret", "could-not-look",
         "certificate-ends-soon")  # fmt: skip
OTHERS_SECRETS = ("ALERT_WEBHOOK_URL", "SMTP_PASSWORD", "AWS_SECRET_ACCESS_KEY",
                  "AWS_SESSION_TOKEN", "PYPI_INDEX_URL")  # fmt: skip


def text(finding: Problem) -> str:
    """Return a finding as people read it."""
    return f"{finding.code} ({finding.where}): {finding.cause}\n  {next_step(finding.fix)}"


def further_problems(project: Project, error: StackError) -> list[Problem]:
    """Return what is known of a failure beyond the problems that it carries.

    Never raises, and gives up after VERDICT_SECONDS: the error comes first.
    """
    try:
        found = in_background(lambda: examine(project, str(error))).result(timeout=VERDICT_SECONDS)
    except BaseException:
        return []
    reported = {(one.code, one.cause) for one in error.problems}
    return [
        one for one in found if one.code not in EXPECTED and (one.code, one.cause) not in reported
    ]


def examine(project: Project, failure: str = "") -> list[Problem]:
    """Return all known problems; `failure` is the message of a failed `inv up`.

    A check that could not be made is a problem too.
    """
    try:
        settings = load_or_draft(project)
    except StackError as error:
        return [*error.problems]
    not_installed: tuple[Problem, ...] = ()
    try:
        settings = project.settings()
    except StackError as error:
        not_installed = error.problems
    engine = _engine(settings)
    found = [*not_installed, *_examined(settings, engine, failure, installed=not not_installed)]
    return [_without_secrets(one, settings) for one in _explained(_merged(found))]


def _engine(settings: Settings) -> Engine:
    """The engine of this clone, or the one that an install would choose."""
    if settings.engine != "auto":
        return factory.engine_for(settings)
    standalone, docker = (
        factory.engine_for(settings.with_engine(n)) for n in ("standalone", "docker")
    )
    return standalone if standalone.surviving_data() or docker.problems() else docker


def _examined(
    settings: Settings, engine: Engine, failure: str, *, installed: bool
) -> list[Problem]:
    found = [*_looked(".env", state_checks.of_env_file, settings)]
    found += _looked("interrupted operations", pending.problems, settings)
    found += _looked("certificates", state_checks.of_certificate, settings)
    found += log_scan.in_error(settings, failure)
    if unfit := [*_looked("engine", engine.problems)]:
        host = Host(places=(settings.root,))
        machine = _looked("machine", state_checks.of_host, settings, host, built=True)
        return [*found, *unfit, *machine]
    host_asked = in_background(lambda: list(_looked("machine", _host, settings, engine)))
    report = health_report.look(settings, engine)
    parts = [
        _looked("data", _lost_data, engine) if not installed else (),
        host_asked.result(),
        _looked("ports", state_checks.of_ports, settings, report),
        _looked("settings", config_drift.findings, settings, engine, _running(report))
        if installed else (),
        _looked("services", state_checks.of_services, engine, report),
        _looked("logs", log_scan.in_logs, settings, engine, report),
        _looked("bucket", object_store.findings, settings, engine) if installed else (),
        state_checks.of_answers(report),
        state_checks.of_accounts(settings, report) if installed else (),
        state_checks.of_work(report),
        state_checks.of_what_is_down(report) if installed else (),
    ]  # fmt: skip
    return [*found, *chain.from_iterable(parts)]


def _looked(
    what: str, look: Callable[..., Iterable[Problem]], *arguments: object, **options: object
) -> Iterator[Problem]:
    try:
        yield from look(*arguments, **options)
    except Exception as error:
        # Of any kind: what is broken may break its own check, and the others must still run.
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        cause = f"{what} could not be checked: {reason}"
        yield Problem("could-not-look", cause, "inv health", what)


def _host(settings: Settings, engine: Engine) -> Iterator[Problem]:
    yield from state_checks.of_host(settings, engine.host(), built=engine.is_built())


def _lost_data(engine: Engine) -> Iterator[Problem]:
    if data := engine.surviving_data():
        yield lost_env(data)


def _running(report: Report) -> list[str]:
    return [row.name for row in report.services if row.state == "running"]


def _merged(found: list[Problem]) -> list[Problem]:
    """The same of several services once."""
    places: dict[tuple[str, str, str], dict[str, None]] = {}
    for one in found:
        places.setdefault((one.code, one.cause, one.fix), {})[one.where] = None
    return [Problem(*key, ", ".join(where)) for key, where in places.items()]


def _explained(found: list[Problem]) -> list[Problem]:
    """Without symptoms that something else explains."""
    causes = [one for one in found if one.code not in (*SYMPTOMS, *ASIDE)]
    places = {place for one in causes for place in one.where.split(", ")}
    reasons = any(one.code not in (*VAGUE, *ASIDE) for one in found)

    def explained(one: Problem) -> bool:
        if one.code == "not-installed":
            return any(other.code == "env-lost" for other in found)
        if one.code in VAGUE:
            return reasons
        return one.code in SYMPTOMS and one.where in places

    return [one for one in found if not explained(one)]


def _without_secrets(finding: Problem, settings: Settings) -> Problem:
    """A last guard: whatever was quoted, it holds no secret of .env."""
    cause, fix = finding.cause, finding.fix
    for name in (*SECRETS, *OTHERS_SECRETS):
        if len(value := settings[name]) >= SHORTEST_PASSWORD:
            cause, fix = cause.replace(value, "***"), fix.replace(value, "***")
    return replace(finding, cause=cause, fix=fix)
