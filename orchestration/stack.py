"""The verbs that change the stack, engine-blind: install, up, down, restart, rebuild."""

import time
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from functools import partial

from orchestration import (
    StackError,
    bucket,
    certificates,
    preflight,
    proof,
    requirements,
    settings,
    tables,
    unfinished,
)
from orchestration.airflow_api import Airflow
from orchestration.engine import ONE_SHOTS, Engine, check_service, image_of
from orchestration.factory import engine_for
from orchestration.progress import Line, Progress
from orchestration.settings import Settings
from orchestration.waiting import await_services, in_background, show_until_done

FOLDERS = ("logs", "plugins", "dags", "backups/report")


def install() -> None:
    """Preflight, then .env, then images; nothing is changed while a problem stands."""
    text, done = settings.draft_env()
    chosen = decided(Settings.of_text(text))
    chosen.refuse_weak()
    chosen.refuse_exposed()
    engine = engine_for(chosen)
    wrong, advice = preflight.look(chosen, engine, fresh_env=settings.keys_are_new())
    if wrong:
        raise StackError(
            "\n".join(["nothing was changed; in the way:", *(f"  - {p}" for p in wrong)])
        )
    for line in advice:
        print(f"advice: {line}")
    settings.write_env(text, chosen.engine)
    if done:
        print(done)
    make_folders(chosen)
    provide_certificate(chosen)
    engine.build()
    engine.activate()
    engine.prune()
    # From where MLflow asks it, so not before there is an image.
    bucket.refuse_unusable(chosen, engine)


def decided(drafted: Settings) -> Settings:
    """The settings with `auto` resolved: docker where it answers with Compose v2.

    Data without containers that outlived its .env decides too: it would lie unseen beside Docker's.
    """
    if drafted.engine != "auto":
        return drafted
    if engine_for(standalone := drafted.with_engine("standalone")).surviving_data():
        return standalone
    why_not = engine_for(docker := drafted.with_engine("docker")).problems()
    if not why_not:
        return docker
    print(f"STACK_ENGINE=standalone, because {why_not[0]}")
    return standalone


def up(*, with_proof: bool = True) -> None:
    """Start everything, wait until the services say so, prove it, tell the addresses.

    Raises StackError with what the doctor knows of the failure below it.
    """
    try:
        chosen, engine = ready_to_start()
        unfinished.take_back(chosen, engine)
        if unfinished.new_secrets(chosen):
            # Only where one was interrupted: it stands on this.
            from orchestration import rotation

            rotation.finish(chosen, engine)
            return
        start(chosen, engine, with_proof=with_proof)
    except StackError as error:
        # Only where something failed: importing it takes time.
        from orchestration import doctor

        raise StackError(f"{error}{doctor.verdict_on(error, engine_for)}") from error


def start(chosen: Settings, engine: Engine, *, with_proof: bool = True) -> None:
    """The same for a stack that is known to be ready."""
    started = time.monotonic()
    with Progress() as progress:
        await_services(chosen, engine, in_background(engine.up), progress)
    if with_proof:
        proof.prove(Airflow(chosen))
    told = f"up{' and proven' if with_proof else ''} in {time.monotonic() - started:.0f} s"
    print(f"{told}\n{tables.addresses(chosen)}")


def ready_to_start() -> tuple[Settings, Engine]:
    """Settings and engine of an installed stack; installs what is missing first."""
    text, missing = settings.draft_env()
    if missing or Settings.of_text(text).engine == "auto":
        install()
    chosen, engine = working_engine()
    chosen.refuse_weak()
    chosen.refuse_exposed()
    if not engine.is_built():
        install()
    elif taken := preflight.foreign_ports(chosen, engine):
        raise StackError("\n".join(taken))
    make_folders(chosen)
    provide_certificate(chosen)
    return chosen, engine


def down(*, volumes: bool, yes: bool) -> None:
    """Stop and remove every service; the data too only with both flags."""
    if volumes and not yes:
        raise StackError(
            "--volumes deletes all runs, models and Airflow's history: inv down --volumes --yes"
        )
    # Works without .env too: giving up the data of a lost one is this command.
    engine = engine_for(decided(settings.drafted()))
    engine.down(volumes=volumes)
    print(f"down: nothing runs any more; the data {'is deleted' if volumes else 'stays'}")


def restart(service: str | None) -> None:
    """Stop and start one service or all, wait until they say they work, prove it.

    Raises StackError where nothing runs, or for a service that does not exist or runs only once.
    """
    chosen, engine = working_engine()
    names = [name for name in engine.services() if name not in ONE_SHOTS]
    if service:
        check_service(engine, service, names)
    unfinished.refuse(chosen)
    chosen.refuse_exposed()
    if not running(engine):
        raise StackError("nothing runs that could be restarted: inv up")
    started = time.monotonic()
    names = [service] if service else names
    restarting = in_background(partial(engine.restart, names))
    with Progress() as progress:
        show_until_done(
            restarting, [(name, "wait", "stops and starts") for name in names], progress
        )
        await_services(chosen, engine, restarting, progress)
    proof.prove(Airflow(chosen))
    print(f"restarted and proven in {time.monotonic() - started:.0f} s")


def rebuild(service: str | None) -> None:
    """Lock, build, import-check, and only then swap what runs, service by service.

    Raises StackError with the requirement or DAG at fault; stack and lock are then as they were.
    """
    chosen, engine = working_engine()
    if service:
        check_service(engine, service, [name for name in engine.services() if image_of(name)])
    unfinished.refuse(chosen)
    chosen.refuse_exposed()
    images = (image_of(service),) if service else engine.images()
    started = time.monotonic()
    try:
        build_and_check(chosen, engine, images)
        if not running(engine):
            print("built; nothing runs that could be swapped: inv up")
            return
        names = [name for name in engine.services() if image_of(name) in images]
        names.sort(key=lambda name: name not in ONE_SHOTS)
        replace_all(chosen, engine, [service] if service else names)
    finally:
        # What cannot be tidied now will be the next time; it must not hide why all this failed.
        with suppress(StackError, OSError):
            engine.prune()
    proof.prove(Airflow(chosen))
    print(f"rebuilt, swapped and proven in {time.monotonic() - started:.0f} s")


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


def working_engine() -> tuple[Settings, Engine]:
    """Settings and engine of an installed stack.

    Raises StackError when there is no .env yet or the engine cannot work.
    """
    chosen = Settings.load()
    engine = engine_for(chosen)
    if wrong := engine.problems():
        raise StackError("\n".join(wrong))
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
