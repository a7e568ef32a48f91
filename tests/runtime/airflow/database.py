"""A database of Airflow in SQLite, with the DAGs of a file and runs of them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path


def create() -> None:
    """Create all tables in the database of AIRFLOW_HOME, unless they exist."""
    import airflow.models
    from airflow import settings
    from airflow.models.base import Base
    from airflow.utils.db import synchronize_log_template

    airflow.models.import_all_models()
    Base.metadata.create_all(settings.engine)
    synchronize_log_template()


def add_dags(file: Path) -> None:
    """Parse a DAG file, and store its DAGs as the dag-processor does."""
    from airflow.models.dagbag import DagBag
    from airflow.models.dagbundle import DagBundleModel
    from airflow.utils.session import create_session

    bag = DagBag(dag_folder=file, include_examples=False)
    assert not bag.import_errors
    with create_session() as session:
        session.merge(DagBundleModel(name="dags-folder"))
    with create_session() as session:
        bag.sync_to_db("dags-folder", None, session=session)


def stored_dag(dag_id: str):
    """Return a stored DAG."""
    from airflow.models.dagbag import DagBag

    return DagBag(read_dags_from_db=True).get_dag(dag_id)


def add_run(dag_id: str, run_id: str, state: str = "running", logical_date=None, run_type=None):
    """Add a run of a stored DAG, with its task instances. With a date, it is a scheduled one."""
    from airflow.utils.session import create_session
    from airflow.utils.state import DagRunState
    from airflow.utils.types import DagRunTriggeredByType, DagRunType

    run_type = run_type or (DagRunType.SCHEDULED if logical_date else DagRunType.MANUAL)
    with create_session() as session:
        return stored_dag(dag_id).create_dagrun(
            run_id=run_id,
            logical_date=logical_date,
            data_interval=logical_date and (logical_date, logical_date + timedelta(days=1)),
            run_after=logical_date or datetime.now(UTC),
            run_type=run_type,
            triggered_by=DagRunTriggeredByType.TIMETABLE,
            state=DagRunState(state),
            session=session,
        )


def task_instance(session, task_id: str, run_id: str):
    """Return the row of a task instance as it is in the database now."""
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy import select

    session.expire_all()
    query = select(TaskInstance).where(
        TaskInstance.task_id == task_id, TaskInstance.run_id == run_id
    )
    return session.scalars(query).one()
