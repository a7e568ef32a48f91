"""`inv shell` and `inv airflow`: run a program in the environment of a service."""

from collections.abc import Sequence

from orchestration.engines import factory
from orchestration.engines.base import check_service
from orchestration.errors import StackError
from orchestration.project import Project


def airflow_cli(project: Project, arguments: Sequence[str]) -> int:
    """Run Airflow's command line in the stack and return its exit code."""
    return _in_service(project, "airflow-apiserver", ["airflow", *arguments])


def open_shell(project: Project, service: str) -> int:
    """Open a shell in the environment of a service and return its exit code."""
    return _in_service(project, service, ["bash"])


def _in_service(project: Project, service: str, argv: Sequence[str]) -> int:
    engine = factory.engine_for(project.settings())
    if problems := engine.problems():
        raise StackError(*problems)
    check_service(engine, service, list(engine.services()))
    if not engine.is_built():
        raise StackError("The stack is not built yet.", fix="inv install")
    return engine.run(service, argv)
