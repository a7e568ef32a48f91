"""Diagnose known failures from state and logs, each with its cause and a fix.

Changes nothing and prints no secret: values are compared and log lines are never quoted.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import chain

from orchestration import pending
from orchestration.clients import object_store
from orchestration.dependencies import applied
from orchestration.doctor import config_drift, log_scan, state_checks
from orchestration.doctor.order import causes_first
from orchestration.engines import factory
from orchestration.engines.base import Engine
from orchestration.errors import Problem, StackError, next_step
from orchestration.health import report as health_report
from orchestration.health.report import Report
from orchestration.host import systemd
from orchestration.host.drafts import load_or_draft
from orchestration.host.resources import Host
from orchestration.preflight import lost_env
from orchestration.process.background import in_background
from orchestration.project import Project
from orchestration.settings.model import Settings
from orchestration.settings.secret_strength import SHORTEST_PASSWORD

# The time limit of a diagnosis below the error of another command.
VERDICT_SECONDS = 10
# Hidden if there is any better explanation.
VAGUE = ("service-not-well", "page-unreachable")
# Hidden if the same service has a problem that explains them.
SYMPTOMS = (*VAGUE, "restarting-again", "one-shot-failed", "service-stopped")
# Present in any stack that has just failed to start.
EXPECTED = (*SYMPTOMS, "stack-down", "not-installed", "could-not-look", "task-silent", "tasks-wait")
# Worth fixing, but never the cause of another problem.
UNRELATED = ("env-readable", "dag-import-errors", "weak-secret", "could-not-look",
             "certificate-ends-soon", "canary-waited", "dags-stale", "task-silent", "tasks-wait",
             "queue-unserved", "backup-failed", "packages-not-applied")  # fmt: skip


def format_problem(problem: Problem) -> str:
    """Return a problem as `inv doctor` prints it."""
    return f"{problem.code} ({problem.where}): {problem.cause}\n  {next_step(problem.fix)}"


def further_problems(project: Project, error: StackError) -> list[Problem]:
    """Return problems that may explain a failure and that its error does not contain.

    Never raises and returns nothing after VERDICT_SECONDS, so that the error itself is printed.
    """
    try:
        diagnosis = in_background(lambda: examine(project, str(error)))
        problems = diagnosis.result(timeout=VERDICT_SECONDS)
    except BaseException:
        return []
    reported = {(one.code, one.cause) for one in error.problems}
    new = (one for one in problems if (one.code, one.cause) not in reported)
    return [one for one in new if one.code not in EXPECTED]


def examine(project: Project, failure: str = "") -> list[Problem]:
    """Return all known problems; `failure` is the message of a failed `inv up`.

    A check that cannot run is reported as a problem too.
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
    problems = [*not_installed, *_check_all(settings, engine, failure, installed=not not_installed)]
    remaining = causes_first(_without_symptoms(_merged(problems)), UNRELATED)
    return [_without_secrets(one, settings) for one in remaining]


def _engine(settings: Settings) -> Engine:
    """Return the engine of this clone, or the one that an install would choose."""
    if settings.engine != "auto":
        return factory.engine_for(settings)
    standalone, docker = (
        factory.engine_for(settings.with_engine(n)) for n in ("standalone", "docker")
    )
    return standalone if standalone.surviving_data() or docker.problems() else docker


def _check_all(
    settings: Settings, engine: Engine, failure: str, *, installed: bool
) -> list[Problem]:
    problems = [*_guarded(".env", state_checks.check_env_file, settings)]
    problems += _guarded("interrupted operations", pending.problems, settings)
    problems += _guarded("certificates", state_checks.check_certificate, settings)
    problems += _guarded("packages", applied.problems, settings) if installed else ()
    problems += _guarded("nightly backup", systemd.backup_problem, settings)
    problems += log_scan.scan_error(settings, failure)
    if unfit := [*_guarded("engine", engine.problems)]:
        host = Host(folders=(settings.root,))
        machine = _guarded("machine", state_checks.check_host, settings, host, built=True)
        return [*problems, *unfit, *machine]
    machine_check = in_background(lambda: list(_guarded("machine", _host, settings, engine)))
    report = health_report.collect(settings, engine)
    parts = [
        _guarded("data", _lost_data, engine) if not installed else (),
        machine_check.result(),
        _guarded("ports", state_checks.check_ports, settings, report),
        _guarded("settings", config_drift.problems, settings, engine, _running(report))
        if installed else (),
        _guarded("services", state_checks.check_services, engine, report),
        _guarded("logs", log_scan.scan_logs, settings, engine, report),
        _guarded("bucket", object_store.problems, settings, engine) if installed else (),
        state_checks.check_pages(report),
        state_checks.check_accounts(settings, report) if installed else (),
        state_checks.check_work(report),
        state_checks.check_stopped(report) if installed else (),
    ]  # fmt: skip
    return [*problems, *chain.from_iterable(parts)]


def _guarded(
    subject: str, check: Callable[..., Iterable[Problem]], *arguments: object, **options: object
) -> Iterator[Problem]:
    """Yield the problems of a check; if it raises, yield that as a problem."""
    try:
        yield from check(*arguments, **options)
    except Exception as error:
        # Any error: a fault can break its own check, and the other checks must still run.
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        cause = f"{subject} could not be checked: {reason}"
        yield Problem("could-not-look", cause, "inv health", subject)


def _host(settings: Settings, engine: Engine) -> Iterator[Problem]:
    yield from state_checks.check_host(settings, engine.host(), built=engine.is_built())


def _lost_data(engine: Engine) -> Iterator[Problem]:
    if data := engine.surviving_data():
        yield lost_env(data)


def _running(report: Report) -> list[str]:
    return [row.name for row in report.services if row.state == "running"]


def _merged(problems: list[Problem]) -> list[Problem]:
    """Combine equal problems of several services into one."""
    places: dict[tuple[str, str, str], dict[str, None]] = {}
    for one in problems:
        places.setdefault((one.code, one.cause, one.fix), {})[one.where] = None
    return [Problem(*key, ", ".join(where)) for key, where in places.items()]


def _without_symptoms(problems: list[Problem]) -> list[Problem]:
    """Return the problems without those that another one explains."""
    causes = [one for one in problems if one.code not in (*SYMPTOMS, *UNRELATED)]
    places = {place for one in causes for place in one.where.split(", ")}
    has_explanation = any(one.code not in (*VAGUE, *UNRELATED) for one in problems)

    def is_symptom(one: Problem) -> bool:
        if one.code == "not-installed":
            return any(other.code == "env-lost" for other in problems)
        if one.code in VAGUE:
            return has_explanation
        return one.code in SYMPTOMS and one.where in places

    return [one for one in problems if not is_symptom(one)]


def _without_secrets(problem: Problem, settings: Settings) -> Problem:
    """Mask secrets of .env in a problem, in case a check quoted one."""
    cause, fix = problem.cause, problem.fix
    for value in settings.secret_values():
        if len(value) >= SHORTEST_PASSWORD:
            cause, fix = cause.replace(value, "***"), fix.replace(value, "***")
    return replace(problem, cause=cause, fix=fix)
