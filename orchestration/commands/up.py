"""`inv up`: start all services and verify them with the canary."""

from orchestration import lifecycle, pending
from orchestration.errors import StackError
from orchestration.project import Project


def run(project: Project, *, with_proof: bool = True) -> None:
    """Start everything, wait until the services say so, prove it, tell the addresses.

    Raises StackError with what the doctor knows of the failure below it.
    """
    try:
        chosen, engine = lifecycle.ready_to_start(project)
        pending.take_back(chosen, engine)
        if pending.new_secrets(chosen):
            # Only where one was interrupted: it stands on this.
            from orchestration.commands import secrets

            secrets.finish(project, chosen, engine)
            return
        lifecycle.start(chosen, engine, with_proof=with_proof)
    except StackError as error:
        # Only where something failed: importing it takes time.
        from orchestration.doctor import diagnose

        raise StackError(str(error), *diagnose.further_problems(project, error)) from error
