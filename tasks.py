"""The verbs of the stack. `inv --list` is the menu, `inv --help VERB` tells each one's flags."""

import functools
import sys
from collections.abc import Callable
from typing import Any

from invoke import Collection, Context, task


def verb(**options: Any) -> Callable[..., Any]:
    """An Invoke task whose expected failures are lines on stderr and exit code 1."""

    def decorate(function: Callable[..., Any]) -> Any:
        @functools.wraps(function)
        def run(context: Context, *arguments: Any, **flags: Any) -> None:
            from orchestration import StackError

            try:
                function(context, *arguments, **flags)
            except StackError as error:
                sys.exit(f"inv {function.__name__}: {error}")
            except KeyboardInterrupt:
                sys.exit(f"inv {function.__name__}: interrupted; run it again to go on")

        return task(run, **options)

    return decorate


@verb()
def install(c: Context) -> None:
    """Check this machine, make .env, build the images."""
    from orchestration import stack

    stack.install()


@verb(help={"proof": "send the canary through the running stack (default: yes)"})
def up(c: Context, proof: bool = True) -> None:
    """Start everything, wait until it works, prove it."""
    from orchestration import stack

    stack.up(with_proof=proof)


@verb(help={"volumes": "delete all data too", "yes": "yes, really"})
def down(c: Context, volumes: bool = False, yes: bool = False) -> None:
    """Stop everything; data stays unless --volumes."""
    from orchestration import stack

    stack.down(volumes=volumes, yes=yes)


@verb(help={"json": "for machines", "deep": "the canary must come through too"})
def health(c: Context, json: bool = False, deep: bool = False) -> None:
    """How every service is; exit code 1 unless all is well."""
    from orchestration import stack

    if not stack.report_health(as_json=json, deep=deep):
        sys.exit(1)


@verb(
    help={
        "service": "one service (default: all)",
        "follow": "go on as lines come",
        "tail": "how many lines of each service",
        "since": "only newer ones, as 10m or 2h",
    }
)
def logs(
    c: Context, service: str | None = None, follow: bool = False, tail: str = "100", since: str = ""
) -> None:
    """Print the services' logs."""
    from orchestration import stack

    stack.show_logs(service, tail=tail, since=since, follow=follow)


@verb(
    positional=["dag_id"],
    help={
        "dag_id": "the DAG to run",
        "conf": "the run's conf, a JSON object",
        "wait": "show its tasks, exit 0 only on success",
    },
)
def trigger(c: Context, dag_id: str, conf: str | None = None, wait: bool = False) -> None:
    """Start a run of a DAG."""
    from orchestration import stack

    stack.trigger(dag_id, conf, wait=wait)


@verb()
def lock(c: Context) -> None:
    """Compile every *.lock file anew from what it is made of."""
    from orchestration import locks

    locks.compile_all()


namespace = Collection(install, up, down, health, logs, trigger, lock)
