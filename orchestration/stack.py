"""The verbs, engine-blind: install, up, down, health, logs, trigger."""

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

from rich.console import Console

from orchestration import StackError, health, preflight, proof, settings, tables
from orchestration.airflow_api import Airflow
from orchestration.engine import Engine, engine_for
from orchestration.progress import Progress
from orchestration.settings import Settings

READY_SECONDS = 240
POLL_SECONDS = 0.5
FOLDERS = ("logs", "plugins", "dags")


def install() -> None:
    """Preflight, then .env, then images; nothing is changed while a problem stands."""
    text, done = settings.draft_env()
    chosen = decided(Settings.of_text(text))
    engine = engine_for(chosen)
    if wrong := preflight.problems(chosen, engine, fresh_env=settings.keys_are_new()):
        raise StackError(
            "\n".join(["nothing was changed; in the way:", *(f"  - {p}" for p in wrong)])
        )
    for line in preflight.advice():
        print(f"advice: {line}")
    settings.write_env(text, chosen.engine)
    if done:
        print(done)
    make_folders(chosen)
    engine.build()


def decided(drafted: Settings) -> Settings:
    """The settings with `auto` resolved: docker where it answers with Compose v2."""
    if drafted.engine != "auto":
        return drafted
    why_not = engine_for(docker := drafted.with_engine("docker")).problems()
    if not why_not:
        return docker
    print(f"STACK_ENGINE=standalone, because {why_not[0]}")
    return drafted.with_engine("standalone")


def up(*, with_proof: bool = True) -> None:
    """Start everything, wait until the services say so, prove it, tell the addresses."""
    started = time.monotonic()
    chosen, engine = ready_to_start()
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
    chosen = Settings.load()
    engine = engine_for(chosen)
    if wrong := engine.problems():
        raise StackError("\n".join(wrong))
    if not engine.is_built():
        install()
    elif taken := preflight.foreign_ports(chosen, engine):
        raise StackError("\n".join(taken))
    make_folders(chosen)
    return chosen, engine


def in_background(work: Callable[[], None]) -> Future[None]:
    """Run `work` beside this; one that hangs ends with the process, nobody waits for it."""
    done: Future[None] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return done


def await_services(
    chosen: Settings, engine: Engine, starting: Future[None], progress: Progress
) -> None:
    """Show the services coming up until all are well.

    Raises StackError when starting failed, or when READY_SECONDS have passed, with the reason,
    the last log lines and the next command.
    """
    while True:
        report = health.look(chosen, engine)
        progress.show(tables.progress_lines(report))
        if starting.done() and (error := starting.exception()):
            raise StackError(f"{_failed_one_shots(engine)}{error}")
        if starting.done() and report.status == "healthy":
            return
        if progress.elapsed > READY_SECONDS:
            raise StackError(f"not ready after {READY_SECONDS} s\n{health.explain(report, engine)}")
        time.sleep(POLL_SECONDS)


def down(*, volumes: bool, yes: bool) -> None:
    """Stop and remove every service; the data too only with both flags."""
    if volumes and not yes:
        raise StackError(
            "--volumes deletes all runs, models and Airflow's history: inv down --volumes --yes"
        )
    # Works without .env too: giving up the data of a lost one is this command.
    text, _ = settings.draft_env()
    engine = engine_for(decided(Settings.of_text(text)))
    engine.down(volumes=volumes)
    print(f"down: nothing runs any more; the data {'is deleted' if volumes else 'stays'}")


def report_health(*, as_json: bool, deep: bool) -> bool:
    """Print how every service is; with `deep` the canary must come through too. True: all well."""
    chosen = Settings.load()
    engine = engine_for(chosen)
    report = health.look(chosen, engine, memory=True)
    if deep and report.status == "healthy":
        report = replace(report, checks=[*report.checks, canary_check(chosen)])
    if as_json:
        print(json.dumps(report.as_dict(), indent=2))
    else:
        tables.print_table(report)
        if report.status != "healthy":
            print(health.explain(report, engine))
    return report.status == "healthy"


def canary_check(chosen: Settings) -> health.Check:
    """The proof as one more check of the report; its progress goes to standard error."""
    started = time.monotonic()
    try:
        told = proof.prove(Airflow(chosen), Console(stderr=True, highlight=False))
    except StackError as error:
        return health.Check(proof.CANARY, False, None, str(error))
    return health.Check(proof.CANARY, True, round((time.monotonic() - started) * 1000), told)


def show_logs(service: str | None, *, tail: str, since: str, follow: bool) -> None:
    """Print the logs of one service or all.

    Raises StackError for a service that does not exist, or a `tail` that is no number.
    """
    if not tail.isdigit():
        raise StackError(f"--tail {tail} is no number of lines: --tail 100")
    engine = engine_for(Settings.load())
    known = list(engine.services())
    if service and service not in known:
        raise StackError(f"there is no service {service}; known: {', '.join(known)}")
    code = engine.logs([service] if service else [], tail=int(tail), since=since, follow=follow)
    if code not in (0, 130):
        raise StackError("the logs could not be read: inv health")


def trigger(dag_id: str, conf: str | None, *, wait: bool) -> None:
    """Start a run of a DAG; with `wait` show its tasks and succeed only if it does."""
    airflow = Airflow(Settings.load())
    run_id = proof.start(airflow, dag_id, parse_conf(conf))
    print(f"{dag_id}: run {run_id} started")
    if wait:
        seconds = proof.follow(airflow, dag_id, run_id)
        print(f"{dag_id}: success in {seconds:.0f} s")
    else:
        print(f"watch it: {airflow.address}/dags/{dag_id}/runs/{run_id}")


def parse_conf(conf: str | None) -> dict[str, Any]:
    """The run's conf from its JSON.

    Raises StackError unless it is a JSON object.
    """
    try:
        value = json.loads(conf or "{}")
    except ValueError as error:
        raise StackError(f"--conf is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise StackError("--conf must be a JSON object: --conf '{\"seed\": 7}'")
    return value


def make_folders(chosen: Settings) -> None:
    """Make the mounted folders before the engine would (as root, 0755), writable for group 0."""
    for name in FOLDERS:
        folder = chosen.project_dir / name
        if folder.exists():
            continue
        folder.mkdir(parents=True)
        folder.chmod(0o2775)


def _failed_one_shots(engine: Engine) -> str:
    failed = [s.name for s in engine.ps() if s.one_shot and s.state == "exited" and s.exit_code]
    lines = [line for name in failed for line in health.last_words(engine, name, 12)]
    return "".join(f"{line}\n" for line in lines)
