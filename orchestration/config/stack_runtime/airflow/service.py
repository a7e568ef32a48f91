"""Start one service of Airflow: `python -m stack_runtime.airflow.service scheduler`.

Does the same as `airflow scheduler`, but faster and in less memory. Airflow's command line imports
the commands of all providers first, with the web framework of the login: 0.8 CPU-seconds and 20 MiB
in every service. This module loads one command from the same definitions, with the same arguments.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import closing
from typing import Any

from stack_runtime.shared import database_url

BASE_URL = "AIRFLOW__API__BASE_URL"
END_JOB = """
UPDATE job SET state = 'failed', end_date = now()
WHERE job_type = 'SchedulerJob' AND hostname = %s AND state = 'running'
"""


def find_command(words: Sequence[str]) -> tuple[Any, Sequence[str]]:
    """Return Airflow's definition of the command that `words` start with, and its arguments.

    Raises StopIteration if no service has that name.
    """
    if words[0] == "celery":
        from airflow.providers.celery.executors.celery_executor import CELERY_COMMANDS as commands

        words = words[1:]
    else:
        from airflow.cli.cli_config import core_commands as commands
    return next(command for command in commands if command.name == words[0]), words[1:]


def end_previous_job() -> None:
    """Record that a scheduler which was killed on this host has ended.

    The next one then adopts its tasks at once. Otherwise Airflow first waits until the last
    heartbeat is as old as [scheduler] scheduler_health_check_threshold.
    """
    from airflow.utils.net import get_hostname

    url = os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]
    with closing(database_url.connect(url)) as connection:
        connection.autocommit = True
        connection.cursor().execute(END_JOB, (get_hostname(),))


def main(words: Sequence[str]) -> None:
    """Run a service until it exits."""
    # Airflow's command line imports this first too; other imports first would be circular.
    from airflow import configuration  # noqa: F401

    from stack_runtime.airflow import patches

    patches.load_deferred()
    command, arguments = find_command(words)
    parser = argparse.ArgumentParser(prog=f"airflow {command.name}", description=command.help)
    for argument in command.args:
        argument.add_to_parser(parser)
    options = parser.parse_args(arguments)
    if command.name == "api-server" and os.environ.get(BASE_URL, "").startswith("http:"):
        # It would redirect to this address after a login, also users of a tunnel with another one.
        os.environ[BASE_URL] = "/"
    if command.name == "scheduler":
        end_previous_job()
    command.func(options)


if __name__ == "__main__":
    main(sys.argv[1:])
