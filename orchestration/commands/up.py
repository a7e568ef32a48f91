"""`inv up`: start all services and verify them with the canary."""

from orchestration import lifecycle, pending
from orchestration.errors import StackError
from orchestration.project import Project


def run(project: Project, *, with_canary: bool = True) -> None:
    """Start all services, wait until they are healthy, run the canary and print the addresses.

    Raises StackError with the failure and the doctor's findings about it.
    """
    try:
        settings, engine = lifecycle.prepare_start(project)
        pending.roll_back(settings, engine)
        if pending.new_secrets(settings):
            # Imported here because only an interrupted rotation needs it.
            from orchestration.commands import secrets

            secrets.finish(project, settings, engine)
            return
        lifecycle.start(settings, engine, with_canary=with_canary)
    except StackError as error:
        # Imported here because the import takes time and only a failure needs it.
        from orchestration.doctor import diagnose

        raise StackError(str(error), *diagnose.further_problems(project, error)) from error
