"""`inv shell` and `inv airflow`: run a program in the environment of a service."""

from collections.abc import Sequence

from orchestration.commands import exchange
from orchestration.engines import factory
from orchestration.engines.base import Engine, check_service
from orchestration.errors import StackError
from orchestration.project import Project

API_SERVER = "airflow-apiserver"


def airflow_cli(project: Project, arguments: Sequence[str]) -> int:
    """Run Airflow's command line in the stack and return its exit code.

    The file of `export` and `import` is one of this machine. Raises StackError if it cannot be
    read or written.
    """
    engine = _engine_for(project, API_SERVER)
    if index := exchange.file_index(arguments):
        return exchange.run(engine, API_SERVER, arguments, index)
    return engine.run(API_SERVER, ["airflow", *arguments])


def open_shell(project: Project, service: str) -> int:
    """Open a shell in the environment of a service and return its exit code."""
    return _engine_for(project, service).run(service, ["bash"])


def _engine_for(project: Project, service: str) -> Engine:
    engine = factory.engine_for(project.settings())
    if problems := engine.problems():
        raise StackError(*problems)
    check_service(engine, service, list(engine.services()))
    if not engine.is_built():
        raise StackError("The stack is not built yet.", fix="inv install")
    return engine
