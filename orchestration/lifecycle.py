"""Install, start and update a stack: operations that several commands share."""

import time
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial

from orchestration import preflight
from orchestration.clients import http, object_store
from orchestration.clients.airflow import Airflow
from orchestration.dependencies import applied, debian, requirements
from orchestration.dependencies.requirements_file import imported_packages
from orchestration.engines import factory
from orchestration.engines.base import Engine
from orchestration.errors import StackError, next_step
from orchestration.health import canary
from orchestration.health.readiness import await_services
from orchestration.host.drafts import draft_env
from orchestration.process.background import in_background, show_until_done
from orchestration.process.progress import Line, Progress
from orchestration.project import Project
from orchestration.settings.model import Settings
from orchestration.tls import certificates

FOLDERS = ("logs", "plugins", "dags", "include", "datasets", "backups/report")


def install(project: Project) -> None:
    """Check the machine, write .env and build the images; change nothing if there is a problem."""
    text, summary = draft_env(project)
    settings = resolve_engine(project.settings_of(text))
    settings.refuse_unsafe()
    requirements.refuse_unsupported(settings)
    engine = factory.engine_for(settings)
    problems, advice = preflight.check(settings, engine, fresh_env=project.keys_are_new())
    if problems:
        raise StackError("The stack cannot be installed yet. Nothing was changed.", *problems)
    for problem in advice:
        print(f"Advice: {problem.cause} {next_step(problem.fix)}")
    project.write_env(text, settings.engine)
    if summary:
        print(summary)
    make_folders(settings)
    provide_certificate(settings)
    engine.build()
    engine.activate()
    applied.record(settings)
    engine.prune()
    # The check runs in MLflow's image, which must have been built.
    object_store.refuse_unusable(settings, engine)


def resolve_engine(draft: Settings) -> Settings:
    """Return the settings with the engine `auto` replaced by docker or standalone.

    Docker is chosen if it works, with Compose v2. But data of a standalone stack that has lost its
    .env keeps standalone: a new Docker stack would hide that data.
    """
    if draft.engine != "auto":
        return draft
    if factory.engine_for(standalone := draft.with_engine("standalone")).surviving_data():
        return standalone
    problems = factory.engine_for(docker := draft.with_engine("docker")).problems()
    if not problems:
        return docker
    print(f"STACK_ENGINE=standalone is used instead of docker. {problems[0].cause}")
    print(f"To use Docker: {next_step(problems[0].fix)}")
    return standalone


def start(settings: Settings, engine: Engine, *, with_canary: bool = True) -> None:
    """Start a prepared stack, wait until it is healthy, run the canary and print the addresses."""
    started = time.monotonic()
    with Progress() as progress:
        await_services(settings, engine, in_background(engine.up), progress)
    if with_canary:
        canary.run(Airflow(settings))
    verified = " and verified" if with_canary else ""
    print(f"Started{verified} in {time.monotonic() - started:.0f} s.\n{addresses(settings)}")


def prepare_start(project: Project) -> tuple[Settings, Engine]:
    """Install what is missing and return the settings and engine."""
    text, missing = draft_env(project)
    if missing or project.settings_of(text).engine == "auto":
        install(project)
    settings, engine = working_engine(project)
    settings.refuse_unsafe()
    if not engine.is_built():
        install(project)
    elif problems := preflight.foreign_ports(settings, engine):
        raise StackError(*problems)
    for problem in applied.problems(settings):
        print(f"Advice: {problem}")
    make_folders(settings)
    provide_certificate(settings)
    return settings, engine


def build_and_check(settings: Settings, engine: Engine, images: Sequence[str]) -> None:
    """Build images and activate them if all DAGs can be imported in them.

    Raises StackError with the requirement or DAG at fault; the lock file is then unchanged.
    """
    is_airflow = "airflow" in images
    make_folders(settings)
    with requirements.updated_lock(settings) if is_airflow else nullcontext():
        engine.build(images)
        if is_airflow:
            _check_imports(settings, engine)
        engine.activate(images)
    if is_airflow:
        applied.record(settings)


def _check_imports(settings: Settings, engine: Engine) -> None:
    """Import the packages of requirements.txt, then the DAGs; raise StackError if one fails."""
    packages = dict(imported_packages(requirements.read(settings)))
    if packages and (errors := engine.package_errors([*packages])):
        cause = f"These packages cannot be imported in the new image:\n{errors}"
        raise StackError(*filter(None, (cause, debian.missing_library_advice(errors))))
    if errors := engine.import_errors():
        cause = f"These DAGs cannot be imported in the new image:\n{errors}"
        advice = debian.missing_library_advice(errors)
        raise StackError(*filter(None, (cause, advice)), fix="nox -s dag_lint")


def replace_all(settings: Settings, engine: Engine, names: Sequence[str]) -> None:
    """Replace services one after the other, then wait until all of them are healthy.

    Tasks retry their requests while a service is being replaced, which takes seconds.
    """
    lines: dict[str, Line] = {name: (name, "wait", "waiting") for name in names}
    with Progress() as progress:
        for name in names:
            lines[name] = (name, "wait", "replacing, running tasks finish first")
            replacement = in_background(partial(engine.replace, name))
            show_until_done(replacement, list(lines.values()), progress)
            lines[name] = (name, "ok", "replaced")
        progress.show(list(lines.values()))
    with Progress() as progress:
        await_services(settings, engine, replacement, progress)


def working_engine(project: Project) -> tuple[Settings, Engine]:
    """Return the settings and engine of an installed stack.

    Raises StackError if there is no .env yet or the engine does not work.
    """
    settings = project.settings()
    engine = factory.engine_for(settings)
    if problems := engine.problems():
        raise StackError(*problems)
    return settings, engine


def is_running(engine: Engine) -> bool:
    """Return whether any service of the stack is running."""
    return any(service.state == "running" for service in engine.ps())


def make_folders(settings: Settings) -> None:
    """Create the mounted folders, writable for group 0 (Docker would create them as root, 0755)."""
    for name in FOLDERS:
        folder = settings.project_dir / name
        if folder.exists():
            continue
        folder.mkdir(parents=True)
        folder.chmod(0o2775)


def provide_certificate(settings: Settings) -> None:
    """Create or install the TLS proxy's certificate if TLS is on, and print what was done."""
    if summary := certificates.provide(settings):
        print(summary)


def addresses(settings: Settings) -> str:
    """Return the pages' addresses and accounts, one page a line."""
    account = f"(user {settings['_AIRFLOW_WWW_USER_USERNAME']}, password in .env)"
    credentials = http.credentials(settings, "STATUS_PORT")
    page = f"  (user {credentials[0]}, STATUS_PAGE_PASSWORD in .env)" if credentials else ""
    return "\n".join(
        (
            f"  Airflow  {settings.public_url('AIRFLOW_PORT')}  {account}",
            f"  MLflow   {settings.public_url('MLFLOW_PORT')}  (user admin, password in .env)",
            f"  status   {settings.public_url('STATUS_PORT')}{page}",
        )
    )
