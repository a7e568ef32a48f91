"""A service of Airflow: `airflow_service.py scheduler` is `airflow scheduler`, sooner and smaller.

Airflow's command line imports what the commands of all its providers need before it looks at the
one that it was asked for: the login's web framework in every service, 0.8 CPU-seconds and 20 MiB.
Here the same command is read from the same definitions, with the same arguments, and only it.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import lean_imports


def defined(words: Sequence[str]) -> tuple[Any, Sequence[str]]:
    """Airflow's definition of the command that these words begin with, and its own arguments.

    Raises StopIteration for one that is no service.
    """
    if words[0] == "celery":
        from airflow.providers.celery.executors.celery_executor import CELERY_COMMANDS as known

        words = words[1:]
    else:
        from airflow.cli.cli_config import core_commands as known
    return next(command for command in known if command.name == words[0]), words[1:]


def main(words: Sequence[str]) -> None:
    """Run a service until it ends."""
    # First of all imports of Airflow, as its own command line has it, to avoid circles.
    from airflow import configuration  # noqa: F401

    lean_imports.put_off(words[0])
    command, given = defined(words)
    parser = argparse.ArgumentParser(prog=f"airflow {command.name}", description=command.help)
    for argument in command.args:
        argument.add_to_parser(parser)
    command.func(parser.parse_args(given))


if __name__ == "__main__":
    main(sys.argv[1:])
