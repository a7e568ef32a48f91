"""Open, install, start and change a stack: what several commands share."""

import time
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial

from orchestration import preflight
from orchestration.clients import http, object_store
from orchestration.clients.airflow import Airflow
from orchestration.dependencies import requirements
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

FOLDERS = ("logs", "plugins", "dags", "backups/report")


def install(project: Project) -> None:
    """Preflight, then .env, then images; nothing is changed while a problem stands."""
    text, done = draft_env(project)
    chosen = resolve_engine(project.settings_of(text))
    chosen.refuse_unsafe()
    engine = factory.engine_for(chosen)
    problems, advice = preflight.check(chosen, engine, fresh_env=project.keys_are_new())
    if problems:
        raise StackError("The stack cannot be installed yet. Nothing was changed.", *problems)
    for one in advice:
        print(f"Advice: {one.cause} {next_step(one.fix)}")
    project.write_env(text, chosen.engine)
    if done:
        print(done)
    make_folders(chosen)
    provide_certificate(chosen)
    engine.build()
    engine.activate()
    engine.prune()
    # From where MLflow asks it, so not before there is an image.
    object_store.refuse_unusable(chosen, engine)


def resolve_engine(drafted: Settings) -> Settings:
    """The settings with `auto` resolved: docker where it answers with Compose v2.

    Data without containers that outlived its .env decides too: it would lie unseen beside Docker's.
    """
    if drafted.engine != "auto":
        return drafted
    if factory.engine_for(standalone := drafted.with_engine("standalone")).surviving_data():
        return standalone
    problems = factory.engine_for(docker := drafted.with_engine("docker")).problems()
    if not problems:
        return docker
    print(f"STACK_ENGINE=standalone is used instead of docker. {problems[0].cause}")
    print(f"To use Docker: {next_step(problems[0].fix)}")
    return standalone


def start(chosen: Settings, engine: Engine, *, with_proof: bool = True) -> None:
    """The same for a stack that is known to be ready."""
    started = time.monotonic()
    with Progress() as progress:
        await_services(chosen, engine, in_background(engine.up), progress)
    if with_proof:
        canary.prove(Airflow(chosen))
    told = f"up{' and proven' if with_proof else ''} in {time.monotonic() - started:.0f} s"
    print(f"{told}\n{addresses(chosen)}")


def ready_to_start(project: Project) -> tuple[Settings, Engine]:
    """Settings and engine of an installed stack; installs what is missing first."""
    text, missing = draft_env(project)
    if missing or project.settings_of(text).engine == "auto":
        install(project)
    chosen, engine = working_engine(project)
    chosen.refuse_unsafe()
    if not engine.is_built():
        install(project)
    elif taken := preflight.foreign_ports(chosen, engine):
        raise StackError(*taken)
    make_folders(chosen)
    provide_certificate(chosen)
    return chosen, engine


def build_and_check(chosen: Settings, engine: Engine, images: Sequence[str]) -> None:
    """Build images, and activate them once all DAGs import in them.

    Raises StackError with the requirement or DAG at fault; the lock is then as it was.
    """
    dags = "airflow" in images
    with requirements.locked(chosen) if dags else nullcontext():
        engine.build(images)
        if dags and (errors := engine.import_errors()):
            raise StackError(f"with what was built these DAGs do not import:\n{errors}")
        engine.activate(images)


def replace_all(chosen: Settings, engine: Engine, names: Sequence[str]) -> None:
    """Start services anew one after the other, then wait until all say that they work.

    Requests to one that is away for these seconds are repeated by the tasks that make them.
    """
    lines: dict[str, Line] = {name: (name, "wait", "waits for its turn") for name in names}
    with Progress() as progress:
        for name in names:
            lines[name] = (name, "wait", "is swapped, running tasks end first")
            swapping = in_background(partial(engine.replace, name))
            show_until_done(swapping, list(lines.values()), progress)
            lines[name] = (name, "ok", "swapped")
        progress.show(list(lines.values()))
    with Progress() as progress:
        await_services(chosen, engine, swapping, progress)


def working_engine(project: Project) -> tuple[Settings, Engine]:
    """Settings and engine of an installed stack.

    Raises StackError when there is no .env yet or the engine cannot work.
    """
    chosen = project.settings()
    engine = factory.engine_for(chosen)
    if problems := engine.problems():
        raise StackError(*problems)
    return chosen, engine


def running(engine: Engine) -> bool:
    """Any service of the stack runs."""
    return any(service.state == "running" for service in engine.ps())


def make_folders(chosen: Settings) -> None:
    """Make the mounted folders before the engine would (as root, 0755), writable for group 0."""
    for name in FOLDERS:
        folder = chosen.project_dir / name
        if folder.exists():
            continue
        folder.mkdir(parents=True)
        folder.chmod(0o2775)


def provide_certificate(chosen: Settings) -> None:
    """Have the proxy's certificate ready where there is a proxy; says what was made."""
    if done := certificates.provide(chosen):
        print(done)


def addresses(chosen: Settings) -> str:
    """Where the pages are, and who may log in."""
    account = f"(user {chosen['_AIRFLOW_WWW_USER_USERNAME']}, password in .env)"
    known = http.account(chosen, "STATUS_PORT")
    page = f"  (user {known[0]}, STATUS_PAGE_PASSWORD in .env)" if known else ""
    return "\n".join(
        (
            f"  Airflow  {chosen.public_url('AIRFLOW_PORT')}  {account}",
            f"  MLflow   {chosen.public_url('MLFLOW_PORT')}  (user admin, password in .env)",
            f"  status   {chosen.public_url('STATUS_PORT')}{page}",
        )
    )
