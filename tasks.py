"""Define the `inv` commands: `inv --list` lists them, `inv --help COMMAND` shows the options."""

import difflib
import functools
import os
import re
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

# Invoke disables bytecode, so each command would compile the host tool again.
sys.dont_write_bytecode = False

GROUPS = {
    "Run": ("install", "up", "down", "restart", "rebuild"),
    "Inspect": ("health", "logs", "open", "doctor", "version"),
    "Work": ("adopt", "trigger", "airflow", "shell"),
    "Data": ("backup", "restore", "drill", "clean", "move-artifacts"),
    "Admin": ("accounts", "secrets", "systemd", "lock"),
}
# What other tools call our commands.
OTHER_NAMES = {
    "start": "up",
    "stop": "down",
    "status": "health",
    "ps": "health",
    "exec": "shell",
    "build": "rebuild",
}
# Options of Invoke that change nothing here, in the worst case `inv --dry down --volumes --yes`.
WITHOUT_EFFECT = (
    "command-timeout",
    "dry",
    "echo",
    "hide",
    "prompt-for-sudo-password",
    "pty",
    "warn-only",
)
ROOT = Path(__file__).resolve().parent
USAGE = "Run: inv --list, or inv --help COMMAND"


class Menu(Program):
    """Group the commands in Invoke's list and exit with code 2 on wrong usage."""

    def list_flat(self) -> None:
        """Print one line per command, in groups, in the order in which people need them."""
        lines = dict(self._make_pairs(self.scoped_collection))
        for group, names in GROUPS.items():
            print(f"{group}:")
            self.print_columns([(name, lines[name]) for name in names])
        print("Options of a command: inv --help COMMAND")

    def no_tasks_given(self) -> None:
        """List the commands if no command is given."""
        self.list_flat()
        raise Exit

    def parse_tasks(self) -> None:
        """Parse the command line. Raises Exit with code 2 on wrong usage."""
        self._exit_on_wrong_usage(super().parse_tasks)
        if self.args.version.value:
            self.print_version()
            raise Exit
        for name in WITHOUT_EFFECT:
            if self.args[name].got_value:
                raise _wrong_usage(f"--{name} has no effect on these commands.", USAGE)
        if "" in (self.args.help.value, self.args.list.value):
            raise _wrong_usage("--help and --list need a name after the sign =.", USAGE)

    def parse_cleanup(self) -> None:
        """Handle --list and --help. Raises Exit with code 2 for an unknown command."""
        self._exit_on_wrong_usage(super().parse_cleanup)

    def print_version(self) -> None:
        """Print the version of the stack. Before a command, Invoke prints its own."""
        commands.version.run(ROOT)

    def _exit_on_wrong_usage(self, parse: Callable[[], None]) -> None:
        try:
            _stop_at_closed_pipe(parse)
        except ParseError as error:
            raise _wrong_usage(str(error), self._next_step(error)) from None
        except Exit as error:
            if error.message:
                raise _wrong_usage(error.message, USAGE) from None
            raise

    def _next_step(self, error: ParseError) -> str:
        """Return what was probably meant."""
        if "airflow" in self.argv and "--" not in self.argv:
            return "Put -- before Airflow's arguments, as in: inv airflow -- dags list"
        match = re.fullmatch(r"No idea what '(\w[\w-]*)' is!", str(error))
        if not match:
            return USAGE
        word, context = match[1], error.context
        if context and "service" in context.args:
            return f"Run: inv {context.name} -s {word}"
        similar = difflib.get_close_matches(word, self.collection.task_names, n=1, cutoff=0.75)
        suggestion = OTHER_NAMES.get(word) or "".join(similar)
        option = "--help " if self.args.help.value else ""
        return f"Run: inv {option}{suggestion}" if suggestion else USAGE


def _wrong_usage(cause: str, next_step: str) -> Exit:
    return Exit(f"Error: {cause}\n{next_step}", code=2)


def _stop_at_closed_pipe(function: Callable[[], None]) -> None:
    """Call a function that prints. Stop it quietly when the reader, such as `head`, has enough."""
    try:
        try:
            function()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise Exit from None


# Invoke creates its program object before it reads this file and has no setting for these two.
program.__class__ = Menu


def command(*, alone: bool = False, **options: Any) -> Callable[..., Any]:
    """Make an Invoke task that reports expected failures on stderr and exits with code 1.

    A command that changes the stack runs `alone`: the clone's lock excludes a second one.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        name = function.__name__.rstrip("_").replace("_", "-")

        @functools.wraps(function)
        def run(context: Context, *arguments: Any, **flags: Any) -> None:
            from orchestration.errors import StackError
            from orchestration.process import lock, runner
            from orchestration.project import Project

            project = Project(ROOT, os.environ)

            # `kill` and a closed terminal interrupt like Ctrl-C, unless nohup ignores the signal.
            for number in (signal.SIGTERM, signal.SIGHUP):
                if signal.getsignal(number) != signal.SIG_IGN:
                    signal.signal(number, signal.default_int_handler)
            try:
                with lock.acquire(name, project.root) if alone else nullcontext():
                    _stop_at_closed_pipe(lambda: function(project, *arguments, **flags))
            except StackError as error:
                raise Exit(f"Error: {error}", code=error.exit_code) from None
            except KeyboardInterrupt:
                runner.terminate_children()
                sys.exit(f"Interrupted. Run inv {name} again to continue.")

        return task(run, name=name, **options)

    return decorate


@command(alone=True)
def install(project: "Project") -> None:
    """Check this machine, create .env and build the images.

    Reports all problems at once and changes nothing until they are solved. Keeps every value that
    is set in .env. Safe to run again.
    """
    commands.install.run(project)


@command(alone=True, help={"proof": "run the canary (default: yes)"})
def up(project: "Project", proof: bool = True) -> None:
    """Start all services and verify them with the canary.

    Installs anything that is missing. Safe to run again: applies changed settings, resumes an
    interrupted run and rolls back an interrupted restore.
    """
    commands.up.run(project, with_canary=proof)


@command(alone=True, help={"volumes": "also delete all data", "yes": "confirm the deletion"})
def down(project: "Project", volumes: bool = False, yes: bool = False) -> None:
    """Stop all services; --volumes also deletes the data."""
    commands.down.run(project, volumes=volumes, yes=yes)


@command(alone=True, help={"service": "one service (default: all)"})
def restart(project: "Project", service: str | None = None) -> None:
    """Restart one service or all of them.

    To apply changed settings, run: inv up. To apply changed requirements, run: inv rebuild.
    """
    commands.restart.run(project, service)


@command(alone=True, help={"service": "rebuild and replace only this service"})
def rebuild(project: "Project", service: str | None = None) -> None:
    """Apply install/requirements.txt: lock, build, test, replace.

    Builds new images or environments and imports every DAG in them. Then replaces the services one
    by one; running tasks finish in the old ones. If the build or the test fails, the stack and the
    lock file stay unchanged.
    """
    commands.rebuild.run(project, service)


@command(
    help={
        "json": "print JSON; with --watch one document per line",
        "deep": "also run the canary",
        "watch": "repeat until Ctrl-C",
    }
)
def health(project: "Project", json: bool = False, deep: bool = False, watch: bool = False) -> None:
    """Show the health of every service.

    Exits with code 1 unless all are healthy.
    """
    if not commands.health.run(project, as_json=json, deep=deep, watch=watch):
        sys.exit(1)


@command(
    help={
        "service": "one service (default: all)",
        "follow": "continue with new lines",
        "tail": "number of lines per service (default: 100)",
        "since": "only lines newer than 30s, 10m, 2h or 1d, for example",
    }
)
def logs(
    project: "Project",
    service: str | None = None,
    follow: bool = False,
    tail: str = "100",
    since: str = "",
) -> None:
    """Show service logs."""
    commands.logs.run(project, service, tail=tail, since=since, follow=follow)


@command(help={"service": "airflow-apiserver, mlflow or status (default)"})
def open_(project: "Project", service: str = "status") -> None:
    """Open a web page in the browser: status, Airflow or MLflow."""
    commands.open_page.run(project, service)


@command(
    positional=["dag_id"],
    help={
        "dag_id": "the DAG to run",
        "conf": "configuration of the run, a JSON object",
        "wait": "show the tasks until the run finishes; exit code 0 only if it succeeds",
        "date": "logical date (ISO 8601), in UTC unless it has an offset (default: now)",
    },
)
def trigger(
    project: "Project",
    dag_id: str,
    conf: str | None = None,
    wait: bool = False,
    date: str | None = None,
) -> None:
    """Trigger a DAG run.

    A paused DAG is unpaused. Example: inv trigger training_pipeline --conf '{"seed": 7}'
    """
    commands.trigger.run(project, dag_id, conf, date=date, wait=wait)


@command()
def airflow(project: "Project") -> None:
    """Run an Airflow command: inv airflow -- dags list.

    Passes on everything after -- unchanged and exits with Airflow's exit code. The file of `export`
    and `import` is one of this machine, as in: inv airflow -- connections export saved.json
    """
    # Invoke's own remainder loses the quoting.
    start = program.argv.index("--") + 1 if "--" in program.argv else len(program.argv)
    sys.exit(commands.shell.airflow_cli(project, program.argv[start:]))


@command(help={"service": "service to open the shell in (default: airflow-scheduler)"})
def shell(project: "Project", service: str = "airflow-scheduler") -> None:
    """Open a shell in a service."""
    sys.exit(commands.shell.open_shell(project, service))


@command(help={"json": "print JSON"})
def doctor(project: "Project", json: bool = False) -> None:
    """Diagnose known problems and suggest fixes.

    Checks settings, machine, services and recent log lines. Exits with code 1 if there is a
    problem. Changes nothing and prints no secrets.
    """
    if not commands.doctor.run(project, as_json=json):
        sys.exit(1)


@command()
def version(project: "Project") -> None:
    """Show the version of this stack."""
    commands.version.run(project.root)


@command(
    alone=True,
    help={
        "keep": "number of backups to keep (default: 7)",
        "passphrase_file": "file whose first line encrypts a copy of .env (default: from .env)",
    },
)
def backup(project: "Project", keep: str = "7", passphrase_file: str = "") -> None:
    """Back up databases, artifacts and DAGs.

    Writes a folder in backups/ and verifies it. Running tasks continue. Safe to run at any time;
    an incomplete backup is not kept.
    """
    commands.backup.run(project, keep=keep, passphrase_file=passphrase_file)


@command(
    alone=True,
    positional=["archive"],
    help={
        "archive": "folder of the backup",
        "yes": "confirm the restore",
        "keys": "also restore the keys from this .keys.age file, on an empty stack only",
        "passphrase_file": "file with the passphrase of the keys (default: from .env)",
        "without_keys": "leave out the passwords of connections if their key is lost",
        "dags": "also restore the DAG files",
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
    """Restore a backup, with automatic rollback.

    Keeps the previous state until the canary succeeds. If the canary fails, the previous state is
    put back.
    """
    options = {"keys_file": keys, "passphrase_file": passphrase_file, "without_keys": without_keys}
    commands.restore.run(project, archive, yes=yes, dags=dags, **options)


@command(alone=True)
def drill(project: "Project") -> None:
    """Test the newest backup in a temporary stack.

    The status page shows the result.
    """
    commands.drill.run(project)


@command(
    alone=True,
    help={
        "dry_run": "list only, remove nothing",
        "older_than": "age in hours or days, such as 12h (default: 30d)",
    },
)
def clean(project: "Project", dry_run: bool = False, older_than: str = "30d") -> None:
    """Remove old runs, logs and images.

    Removes old runs with their logs and data, deleted MLflow runs, and inactive images or
    environments. Keeps Docker's build cache, because all projects of this machine share it.
    """
    commands.clean.run(project, older_than=older_than, dry_run=dry_run)


@command(
    alone=True,
    help={
        "to": "destination: s3://bucket/prefix",
        "dry_run": "list only, copy nothing",
    },
)
def move_artifacts(project: "Project", to: str = "", dry_run: bool = False) -> None:
    """Move MLflow's artifacts to a bucket.

    Verifies each copy by its hash and deletes nothing. Tasks continue; MLflow stops for a few
    seconds at the end. Run it again to resume an interrupted copy.
    """
    commands.move_artifacts.run(project, to, dry_run=dry_run)


@command(
    iterable=["rotate"],
    help={"rotate": "name of a secret to change (repeatable), or `all`"},
)
def secrets(project: "Project", rotate: list[str]) -> None:
    """List secrets and flag weak ones; --rotate changes one.

    Prints no values. Exits with code 1 if a secret is weak. A rotation waits for running tasks,
    changes the secret everywhere it is stored, updates .env, restarts the affected services and
    runs the canary. The next `inv up` resumes an interrupted rotation.
    """
    if not commands.secrets.run(project, rotate):
        sys.exit(1)


@command(
    alone=True,
    help={
        "file": "a CSV or Parquet file, a path or s3:// address",
        "name": "name of the new problem, such as bike-rentals",
        "target": "column to predict",
        "time": "column with the time of a row, if there is one",
        "kind": "binary, multiclass or regression (default: what fits the target)",
        "check": "try this problem again, on a sample and without the stack",
        "list": "list the problems",
        "json": "print one JSON document",
    },
)
def adopt(
    project: "Project",
    file: str = "",
    name: str = "",
    target: str = "",
    time: str = "",
    kind: str = "",
    check: str = "",
    list: bool = False,
    json: bool = False,
) -> None:
    """Turn a table into a problem with training, monitoring and scoring.

    Writes dags/problems/NAME.py and trains on a sample. Example: inv adopt --file bikes.csv --name
    bike-rentals --target count --time date
    """
    options = commands.adopt.Options(file, name, target, time, kind, check, list, json)
    commands.adopt.run(project, options)


@command(
    help={
        "add": "create this account, or change the role of an existing one",
        "remove": "remove this account; its experiments and models are kept",
        "role": "reader (reads everything, the default) or writer (also creates its own)",
        "password": "read it from the terminal or standard input",  # pragma: allowlist secret
        "airflow": "also in Airflow, as Viewer or User, with the same password",
    }
)
def accounts(
    project: "Project",
    add: str = "",
    remove: str = "",
    role: str = "",
    password: bool = False,
    airflow: bool = False,
) -> None:
    """List, add and remove accounts of colleagues in MLflow and Airflow.

    A new account gets a random password, which is printed once. Example: inv accounts --add ada
    """
    options = commands.accounts.Options(add, remove, role, password, airflow)
    commands.accounts.run(project, options)


@command(help={"install": "install and enable the units (as root)"})
def systemd(project: "Project", install: bool = False) -> None:
    """Print or install the systemd units."""
    commands.systemd.run(project, install=install)


@command(alone=True)
def lock(project: "Project") -> None:
    """Recompile all lock files.

    Keeps pins that still fit. For install/requirements.txt alone, run: inv rebuild.
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
    version,
    adopt,
    backup,
    restore_,
    drill,
    clean,
    move_artifacts,
    accounts,
    secrets,
    systemd,
    lock,
)
