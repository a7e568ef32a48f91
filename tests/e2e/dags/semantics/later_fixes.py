"""Tasks that meet faults of Airflow 3.0.1 which later versions fix one by one."""

import logging
from datetime import datetime, timedelta

from airflow.exceptions import AirflowException
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.providers.standard.sensors.external_task import ExternalTaskSensor
from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
from airflow.sdk import Asset, BaseOperator, Connection, dag, get_current_context, task, task_group
from airflow.sdk.execution_time.secrets_masker import mask_secret

OPTIONS = {
    "schedule": None,
    "start_date": datetime(2025, 1, 1),
    "is_paused_upon_creation": False,
    "tags": ["test"],
    "default_args": {"retries": 0},
}
AGAIN = {"retries": 1, "retry_delay": timedelta(seconds=1)}


def is_first_try():
    return get_current_context()["ti"].try_number == 1


class Deferring(BaseOperator):
    """Defers itself on its first try and fails afterwards."""

    def execute(self, context):
        if is_first_try():
            self.defer(trigger=TimeDeltaTrigger(timedelta(seconds=1)), method_name="resume")

    def resume(self, context, event=None):
        raise AirflowException("failed after the deferral")


@dag(**OPTIONS)
def later_fixes():
    Deferring(task_id="deferring", **AGAIN)

    @task
    def logs():
        logging.addLevelName(25, "DEPRECATION WARNING")
        logging.getLogger("library").log(25, "a message with its own level")

    @task
    def plain():
        return "plain"

    @task(**AGAIN)
    def mapped(number):
        ti = get_current_context()["ti"]
        assert ti.xcom_pull("plain") == "plain"
        if is_first_try():
            ti.xcom_push("old", number)
            raise AirflowException("failed after its XCom")
        return number

    @task
    def collect():
        assert get_current_context()["ti"].xcom_pull("mapped") == [1, 2]

    def push_exception(context):
        context["ti"].xcom_push("exception", str(context["exception"]))

    @task(on_failure_callback=push_exception)
    def fails():
        raise AirflowException("this is broken")

    plain() >> mapped.expand(number=[1, 2]) >> collect()
    logs(), fails()


@dag(**OPTIONS)
def later_secrets():
    """Show the secrets of a connection in a log and in a template."""

    @task
    def show():
        mask_secret("declared-by-task")
        print("declared-by-task")
        connection = Connection.get("later")
        print(connection.password, connection.extra_dejson["token"])

    show()
    BashOperator(task_id="render", bash_command="true {{ conn.later.password }} {{ run_id }}")


@dag(**OPTIONS)
def later_groups():
    """Wait for a task group of the same run, which starts late."""
    wait = ExternalTaskSensor(
        task_id="wait",
        external_dag_id="later_groups",
        external_task_group_id="group",
        mode="reschedule",
        poke_interval=2,
    )

    @task
    def after():
        ti = get_current_context()["ti"]
        assert ti.xcom_pull("group.work") == "done"

    @task_group
    def group():
        @task
        def work():
            return "done"

        return work()

    BashOperator(task_id="first", bash_command="sleep 8") >> group()
    wait >> after()


@dag(**OPTIONS)
def later_inner():
    BashOperator(task_id="work", bash_command="true")


@dag(**OPTIONS)
def later_outer():
    """Trigger a run with a fixed ID, and wait for it in the triggerer."""
    TriggerDagRunOperator(
        task_id="trigger",
        trigger_dag_id="later_inner",
        trigger_run_id="fixed",
        reset_dag_run=True,
        wait_for_completion=True,
        deferrable=True,
        poke_interval=1,
    )


@dag(**OPTIONS | {"schedule": [Asset("later_events")]}, max_active_runs=1)
def later_consumer():
    BashOperator(task_id="work", bash_command="sleep 8")


later_fixes()
later_secrets()
later_groups()
later_inner()
later_outer()
later_consumer()
