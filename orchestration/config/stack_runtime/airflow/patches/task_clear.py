"""Let `airflow tasks clear` work: it fails for every DAG, because it parses the DAG's file."""

import re
from typing import Any

from stack_runtime.shared.patch_registry import Kind, Patch


def clear_stored_dags(command: Any) -> None:
    """Give the command stored DAGs, which can be cleared, instead of those in the DAG's file."""
    find = command.get_dags

    def get_stored(dag_id: str) -> Any:
        return find(None, dag_id, from_db=True)[0]

    def get_all_stored(
        bundle_names: Any, dag_id: str, use_regex: bool = False, from_db: bool = False
    ) -> Any:
        names = [name for name in _stored_ids() if re.search(dag_id, name)] if use_regex else []
        if not names:
            return find(bundle_names, dag_id, use_regex=use_regex, from_db=from_db)
        return [get_stored(name) for name in names]

    command.get_dag_by_file_location, command.get_dags = get_stored, get_all_stored


def _stored_ids() -> list[str]:
    from airflow.models.dag import DagModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        return sorted(session.scalars(select(DagModel.dag_id).where(~DagModel.is_stale)))


PATCH = Patch(
    name="clear-stored-dags",
    module="airflow.cli.commands.task_command",
    needs=("get_dag_by_file_location", "get_dags"),
    distribution="apache-airflow-core",
    versions=">=3.0.1,<3.1",
    kind=Kind.CORRECTNESS,
    reason="`airflow tasks clear` fails: 'DAG' object has no attribute 'clear'.",
    upstream="apache/airflow#63827",
    delete_when="`airflow tasks clear` reads stored DAGs",
    apply=clear_stored_dags,
)
