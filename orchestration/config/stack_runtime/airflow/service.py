"""Start one service of Airflow: `python -m stack_runtime.airflow.service scheduler`.

Does what `airflow scheduler` does, sooner and in less memory. Airflow's command line imports what
the commands of all its providers need before it looks at the one it was asked for: the login's web
framework in every service, 0.8 CPU-seconds and 20 MiB. This reads the one command from the same
definitions, with the same arguments.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Any


def command_of(words: Sequence[str]) -> tuple[Any, Sequence[str]]:
    """Return Airflow's definition of the command that `words` begin with, and the other words.

    Raises StopIteration if no service has that name.
    """
    if words[0] == "celery":
        from airflow.providers.celery.executors.celery_executor import CELERY_COMMANDS as commands

        words = words[1:]
    else:
        from airflow.cli.cli_config import core_commands as commands
    return next(command for command in commands if command.name == words[0]), words[1:]


def main(words: Sequence[str]) -> None:
    """Run a service until it ends."""
    # The first import of Airflow, as in its own command line: others would be circular.
    from airflow import configuration  # noqa: F401

    from stack_runtime.airflow import patches

    patches.load_put_off()
    command, arguments = command_of(words)
    parser = argparse.ArgumentParser(prog=f"airflow {command.name}", description=command.help)
    for argument in command.args:
        argument.add_to_parser(parser)
    command.func(parser.parse_args(arguments))


if __name__ == "__main__":
    main(sys.argv[1:])
