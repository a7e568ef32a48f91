"""The verbs of the stack. `inv --list` is the menu, `inv --help COMMAND` tells each one's flags."""

import functools
import os
import signal
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invoke import Collection, Context, Exit, ParseError, Program, task
from invoke.main import program

from orchestration import commands

if TYPE_CHECKING:
    from orchestration.project import Project

# Invoke switches it off; without it every verb would compile the engine room anew.
sys.dont_write_bytecode = False

GROUPS = {
    "run the stack": ("install", "up", "down", "restart", "rebuild"),
    "look at it": ("health", "logs", "open"),
    "work in it": ("trigger", "airflow", "shell"),
    "maintain it": (
        "doctor", "backup", "restore", "drill", "clean", "move-artifacts", "secrets", "systemd",
        "lock",
    ),
}  # fmt: skip


class Menu(Program):
    """Invoke's program, with the verbs in groups and exit code 2 for wrong usage."""

    def list_flat(self) -> None:
        """Print the menu: a line for each verb, in the order in which people need them."""
        lines = dict(self._make_pairs(self.scoped_collection))
        for group, names in GROUPS.items():
            print(f"{group}:")
            self.print_columns([(name, lines[name]) for name in names])
        print("the flags of one: inv --help COMMAND")

    def no_tasks_given(self) -> None:
        """Show the menu where nothing is asked."""
        self.list_flat()
        raise Exit

    def parse_tasks(self) -> None:
        """Read the command line; raises Exit with code 2 for what is none."""
        self._parsed(super().parse_tasks)

    def parse_cleanup(self) -> None:
        """Answer --list and --help; raises Exit with code 2 for a verb that does not exist."""
        self._parsed(super().parse_cleanup)

    def _parsed(self, parse: Callable[[], None]) -> None:
        try:
            parse()
        except ParseError as error:
            way_on = "Run: inv --list, or inv --help COMMAND"
            if "airflow" in self.argv and "--" not in self.argv:
                way_on = "Put -- before Airflow's arguments, as in: inv airflow -- dags list"
            raise Exit(f"Error: {error}\n{way_on}", code=2) from None


# The program that reads this file exists already, and Invoke has no setting for these two.
program.__class__ = Menu


def verb(*, alone: bool = False, **options: Any) -> Callable[..., Any]:
    """An Invoke task whose expected failures are lines on stderr and exit code 1.

    `alone`: it changes the stack, and no other that does may be at work in this clone.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        name = function.__name__.rstrip("_").replace("_", "-")

        @functools.wraps(function)
        def run(context: Context, *arguments: Any, **flags: Any) -> None:
            from orchestration.errors import StackError
            from orchestration.process import lock, runner
            from orchestration.project import Project

            project = Project(Path(__file__).resolve().parent, os.environ)

            # A closed terminal and `kill` are interruptions like Ctrl-C; nohup's word stands.
            for ending in (signal.SIGTERM, signal.SIGHUP):
                if signal.getsignal(ending) != signal.SIG_IGN:
                    signal.signal(ending, signal.default_int_handler)
            try:
                with lock.at_work(name, project.root) if alone else nullcontext():
                    function(project, *arguments, **flags)
            except StackError as error:
                sys.exit(f"Error: {error}")
            except KeyboardInterrupt:
                runner.end_running()
                sys.exit(f"Interrupted. Run inv {name} again to continue.")
            except BrokenPipeError:
                # Whoever read it, as `head` does, has enough.
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

        return task(run, name=name, **options)

    return decorate


@verb(alone=True)
def install(project: "Project") -> None:
    """Check this machine, make .env, build images or environments.

    Everything that stands in the way is told at once; nothing is changed before all of it is
    gone. Settings that are set in .env are never touched. Safe to run again.
    """
    commands.install.run(project)


@verb(alone=True, help={"proof": "send the canary through the running stack (default: yes)"})
def up(project: "Project", proof: bool = True) -> None:
    """Start everything, wait until it works, prove it.

    Does what install would have, where that is missing. Run again, it applies changed settings
    and finishes what was interrupted; a restore that was is taken back.
    """
    commands.up.run(project, with_proof=proof)


@verb(alone=True, help={"volumes": "delete all data too", "yes": "yes, really"})
def down(project: "Project", volumes: bool = False, yes: bool = False) -> None:
    """Stop everything; data stays unless --volumes."""
    commands.down.run(project, volumes=volumes, yes=yes)


@verb(alone=True, help={"service": "one service (default: all)"})
def restart(project: "Project", service: str | None = None) -> None:
    """Stop and start services, wait until they work.

    Changed settings are applied by up, changed requirements by rebuild.
    """
    commands.restart.run(project, service)


@verb(alone=True, help={"service": "only what this service runs from, and only it"})
def rebuild(project: "Project", service: str | None = None) -> None:
    """Apply install/requirements.txt: lock, build, check the DAGs, swap.

    The lock is refreshed, images or environments are built beside the running ones, every DAG is
    imported in them, and only then services are swapped one by one; running tasks end in the old
    ones. Whatever fails before that leaves stack and lock as they were.
    """
    commands.rebuild.run(project, service)


@verb(
    help={
        "json": "for machines; with --watch a line each time",
        "deep": "the canary must come through too",
        "watch": "go on looking until Ctrl-C",
    }
)
def health(project: "Project", json: bool = False, deep: bool = False, watch: bool = False) -> None:
    """How every service is; exit code 1 unless all is well."""
    if not commands.health.run(project, as_json=json, deep=deep, watch=watch):
        sys.exit(1)


@verb(
    help={
        "service": "one service (default: all)",
        "follow": "go on as lines come",
        "tail": "how many lines of each service (default: 100)",
        "since": "only newer ones, as 30s, 10m, 2h or 1d",
    }
)
def logs(
    project: "Project",
    service: str | None = None,
    follow: bool = False,
    tail: str = "100",
    since: str = "",
) -> None:
    """Print the services' logs."""
    commands.logs.run(project, service, tail=tail, since=since, follow=follow)


@verb(help={"service": "airflow-apiserver, mlflow or status (default)"})
def open_(project: "Project", service: str = "status") -> None:
    """Open a page in the browser: status, Airflow or MLflow."""
    commands.open_page.run(project, service)


@verb(
    positional=["dag_id"],
    help={
        "dag_id": "the DAG to run",
        "conf": "the run's conf, a JSON object",
        "wait": "show its tasks, exit 0 only on success",
    },
)
def trigger(project: "Project", dag_id: str, conf: str | None = None, wait: bool = False) -> None:
    """Start a run of a DAG.

    A paused DAG is unpaused first. Example: inv trigger training_pipeline --conf '{"seed": 7}'
    """
    commands.trigger.run(project, dag_id, conf, wait=wait)


@verb()
def airflow(project: "Project") -> None:
    """Airflow's own command line: inv airflow -- dags list.

    What stands behind -- reaches it unharmed; its exit code is this one's.
    """
    # Invoke's own remainder has lost the quoting.
    given = program.argv.index("--") + 1 if "--" in program.argv else len(program.argv)
    sys.exit(commands.shell.airflow_cli(project, program.argv[given:]))


@verb(help={"service": "whose surroundings to be in (default: airflow-scheduler)"})
def shell(project: "Project", service: str = "airflow-scheduler") -> None:
    """A shell where a service runs."""
    sys.exit(commands.shell.open_shell(project, service))


@verb(help={"json": "for machines"})
def doctor(project: "Project", json: bool = False) -> None:
    """Tell known failures: the cause, and one command to type.

    Looks at settings, machine, services and their last log lines; exit code 1 unless all is well.
    Changes nothing, tells no secret.
    """
    if not commands.doctor.run(project, as_json=json):
        sys.exit(1)


@verb(
    alone=True,
    help={
        "keep": "how many of the newest to keep (default: 7)",
        "passphrase_file": "encrypt a copy of .env with its first line (default: as .env says)",
    },
)
def backup(project: "Project", keep: str = "7", passphrase_file: str = "") -> None:
    """Write data, artifacts and DAGs to backups/, read them back.

    The stack goes on meanwhile. Safe to run at any time; what is not complete is not kept.
    """
    commands.backup.run(project, keep=keep, passphrase_file=passphrase_file)


@verb(
    alone=True,
    positional=["archive"],
    help={
        "archive": "the backup's folder",
        "yes": "yes, really",
        "keys": "take the keys along, onto an empty stack: the backup's .keys.age",
        "passphrase_file": "what the keys were encrypted with (default: as .env says)",
        "without_keys": "give up the passwords of connections, whose key is lost",
        "dags": "put the backup's DAG files in place too",
    },
)
def restore_(
    project: "Project",
    archive: str,
    yes: bool = False,
    keys: str = "",
    passphrase_file: str = "",
    without_keys: bool = False,
    dags: bool = False,
) -> None:
    """Put a backup in the place of what is there.

    What is there is kept until the canary has come through; where it does not, the old state
    comes back.
    """
    options = {"keys_file": keys, "passphrase_file": passphrase_file, "without_keys": without_keys}
    commands.restore.run(project, archive, yes=yes, dags=dags, **options)


@verb(alone=True)
def drill(project: "Project") -> None:
    """Restore the newest backup beside the stack, and check it.

    The status page tells the verdict.
    """
    commands.drill.run(project)


@verb(
    alone=True,
    help={
        "dry_run": "change nothing, only tell what it would give back",
        "older_than": "what ended less than this ago stays, as 12h or 30d (default: 30d)",
    },
)
def clean(project: "Project", dry_run: bool = False, older_than: str = "30d") -> None:
    """Give back disk space, never what is in use.

    Old runs with their logs and data, MLflow's deleted runs, images or environments that nothing
    runs from. Docker's build cache stays: it belongs to all projects of this machine.
    """
    commands.clean.run(project, older_than=older_than, dry_run=dry_run)


@verb(
    alone=True,
    help={
        "to": "the bucket: s3://bucket/prefix",
        "dry_run": "tell what and how much, change nothing",
    },
)
def move_artifacts(project: "Project", to: str = "", dry_run: bool = False) -> None:
    """Move MLflow's artifacts into a bucket, compared by hash.

    Tasks go on meanwhile; MLflow stands still for seconds at the end. Nothing is deleted, and
    what was ended in its middle goes on where it was.
    """
    commands.move_artifacts.run(project, to, dry_run=dry_run)


@verb(
    iterable=["rotate"],
    help={"rotate": "a secret by its name, several times or `all`: give it a new value"},
)
def secrets(project: "Project", rotate: list[str]) -> None:
    """Tell whether secrets can be guessed; --rotate changes one.

    Never a value; exit code 1 unless all are good. A rotation lets tasks end first, changes the
    secret where it is held, writes .env, restarts what has it and proves the stack; interrupted,
    the next `inv up` goes on with it.
    """
    if not commands.secrets.run(project, rotate):
        sys.exit(1)


@verb(help={"install": "put it in place, for each boot (as root)"})
def systemd(project: "Project", install: bool = False) -> None:
    """Print the unit that starts this at boot, or put it in place."""
    commands.systemd.run(project, install=install)


@verb(alone=True)
def lock(project: "Project") -> None:
    """Compile every *.lock file anew from what it is made of.

    Pins that still fit stay. For install/requirements.txt alone, rebuild does it.
    """
    commands.lock.run(project)


namespace = Collection(
    install,
    up,
    down,
    restart,
    rebuild,
    health,
    logs,
    open_,
    trigger,
    airflow,
    shell,
    doctor,
    backup,
    restore_,
    drill,
    clean,
    move_artifacts,
    secrets,
    systemd,
    lock,
)
