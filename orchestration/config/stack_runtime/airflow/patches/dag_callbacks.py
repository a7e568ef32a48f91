"""Run callbacks in the dag-processor with the context that later versions of Airflow provide.

The scheduler requests callbacks of DAGs, and those of tasks whose worker died. Airflow 3.0.1 gives
callbacks of DAGs an empty context and cannot run those of tasks.
"""

import functools
import os
from typing import Any
from urllib.parse import quote

from stack_runtime.shared.patch_registry import Kind, Patch

CORE = "apache-airflow-core"
PROCESSOR = "airflow.dag_processing.processor"
# Requests of a process that Airflow 3.0.1 answers itself.
ANSWERED = ("DagFileParsingResult",
            "GetConnection", "GetVariable", "PutVariable", "DeleteVariable")  # fmt: skip


def provide_contexts(manager: Any) -> None:
    """Read the context of callbacks from the database and give it to the process that runs them."""
    from airflow.dag_processing import processor
    from airflow.sdk.execution_time import comms, supervisor

    answered = tuple(getattr(processor, name) for name in ANSWERED)

    class WithContexts(manager.DagFileProcessorProcess):  # type: ignore[misc]
        decoder = processor.TypeAdapter(processor.DagFileParsingResult | comms.ToSupervisor)

        @classmethod
        def start(cls, *, callbacks: list[Any], **options: Any) -> Any:
            if callbacks:
                contexts = [server_context(request) for request in callbacks]
                options["target"] = functools.partial(run_child, contexts)
            return super().start(callbacks=callbacks, **options)

        def _handle_request(self, msg: Any, log: Any) -> None:
            if isinstance(msg, answered):
                super()._handle_request(msg, log)
                return
            # Other requests are answered as for a task. Airflow 3.0.1 ignores them, for example for
            # an XCom, so a callback would wait until its process is killed.
            task = object.__new__(supervisor.ActivitySubprocess)
            task.id = getattr(msg, "ti_id", self.id)
            task.client, task.stdin, task.process_log = self.client, self.stdin, self.process_log
            task._handle_request(msg, log)

    def run_child(contexts: list[Any]) -> None:
        processor._execute_callbacks = functools.partial(run_callbacks, contexts)
        processor._parse_file_entrypoint()

    # The name of the first class, as in Airflow 3.0.1, is not resolved where a library such as
    # pandera has replaced the call of generic types, and then no file is parsed.
    processor.ToDagProcessor = processor.DagFileParseRequest | comms.ToTask
    manager.DagFileProcessorProcess = WithContexts


def server_context(request: Any) -> tuple[Any, Any]:
    """Return what the API server sends to a task when it starts, and the task's attributes.

    The task of a DAG's callback is the last one that failed, or that succeeded. Both are None if
    the database has no such run.
    """
    import structlog
    from airflow.api_fastapi.execution_api.datamodels import taskinstance
    from airflow.models.dagrun import DagRun
    from airflow.sdk.api.datamodels._generated import TIRunContext
    from airflow.utils.session import create_session

    ti = getattr(request, "ti", None)
    key = {"dag_id": (ti or request).dag_id, "run_id": (ti or request).run_id}
    try:
        with create_session() as session:
            run = session.query(DagRun).filter_by(**key).one()
            row = _task_row(session, request, ti, key)
            tries = row.max_tries if row else 0
            sent = taskinstance.TIRunContext(dag_run=run, max_tries=tries, should_retry=False)
            context = TIRunContext.model_validate_json(sent.model_dump_json())
            # Runs of later versions have this attribute.
            vars(context.dag_run)["state"] = run.state
            if row is None:
                return context, None
            model = ti or taskinstance.TaskInstance.model_validate(row, from_attributes=True)
            names = ("state", "start_date", "end_date", "max_tries")
            attributes = model.model_dump() | {name: getattr(row, name) for name in names}
            # The row of a task that is retried is the one of its next try.
            return context, attributes | ({"state": request.task_callback_type} if ti else {})
    except Exception:
        structlog.get_logger().exception("The context of a callback is missing", run=key)
        return None, None


def _task_row(session: Any, request: Any, ti: Any, key: dict[str, str]) -> Any:
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.state import TaskInstanceState as State

    query = session.query(TaskInstance).filter_by(**key)
    if ti:
        return query.filter_by(task_id=ti.task_id, map_index=ti.map_index).one_or_none()
    wanted = State.FAILED if request.is_failure_callback else State.SUCCESS
    state, end = TaskInstance.state, TaskInstance.end_date
    rows = query.filter(state.is_distinct_from(State.REMOVED))
    return rows.order_by(state.is_distinct_from(wanted), end.desc().nulls_last()).first()


def run_callbacks(contexts: list[Any], bag: Any, requests: list[Any], log: Any) -> None:
    """Run callbacks in the child process. One that fails does not stop the others."""
    from airflow.stats import Stats

    for request, (context, attributes) in zip(requests, contexts, strict=True):
        tags = {"dag_id": getattr(request, "ti", request).dag_id}
        try:
            callbacks, values = _resolve(bag, request, context, attributes, log)
        except Exception:
            log.exception("A callback cannot be run", request=request.to_json())
            continue
        for callback in callbacks:
            log.info("Running a callback", callback=repr(callback), reason=request.msg, **tags)
            try:
                # Each callback gets its own copy, because notifiers add values.
                callback(dict(values))
            except Exception:
                log.exception("A callback failed", callback=repr(callback), **tags)
                Stats.incr("dag.callback_exceptions", tags=tags)


def _resolve(bag: Any, request: Any, context: Any, attributes: Any, log: Any) -> tuple[Any, Any]:
    """Return the callbacks of a request, and the values that they get."""
    ti = getattr(request, "ti", None)
    dag = bag.dags[(ti or request).dag_id]
    values = {"dag": dag, "run_id": (ti or request).run_id, "reason": request.msg}
    if context:
        values["dag_run"] = context.dag_run
    if ti:
        values["exception"] = request.msg
        attributes = attributes or ti.model_dump()
        owner = dag.get_task(ti.task_id)
        kind = "retry" if request.task_callback_type == "up_for_retry" else "failure"
    else:
        owner, kind = dag, "failure" if request.is_failure_callback else "success"
    callbacks = getattr(owner, f"on_{kind}_callback") or []
    callbacks = [*callbacks] if isinstance(callbacks, list | tuple) else [callbacks]
    if ti and owner.email and _options(owner).get(f"email_on_{kind}", True):
        callbacks.append(send_mail)
    if attributes:
        try:
            values = _task_context(dag, context, attributes) | values
        except Exception:
            log.exception("The context of a callback has no task", run_id=values["run_id"])
    return callbacks, values


def _options(task: Any) -> Any:
    return getattr(task, "partial_kwargs", None) or vars(task)


def send_mail(context: Any) -> None:
    """Send the mail about a failed or retried task to its `email`."""
    from airflow.sdk.execution_time.task_runner import _send_task_error_email

    _send_task_error_email(context["task"].email, context["ti"], context["exception"])


def _task_context(dag: Any, context: Any, attributes: Any) -> dict[str, Any]:
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    runtime = RuntimeTaskInstance.model_construct(
        **attributes, task=dag.get_task(attributes["task_id"]), _ti_context_from_server=context
    )
    return dict(runtime.get_template_context())


def link_task_instances(task_runner: Any) -> None:
    """Give task instances the address of their page, which mails and notifiers contain."""

    def log_url(ti: Any) -> str:
        address = os.environ.get("AIRFLOW_PUBLIC_URL", "http://localhost:8080")
        page = f"dags/{ti.dag_id}/runs/{quote(ti.run_id)}/tasks/{ti.task_id}"
        is_mapped = ti.map_index is not None and ti.map_index >= 0
        mapped = f"/mapped/{ti.map_index}" if is_mapped else ""
        return f"{address}/{page}{mapped}?try_number={ti.try_number}"

    instance = task_runner.RuntimeTaskInstance
    instance.log_url = instance.mark_success_url = property(log_url)


def share_api(processor: Any) -> None:
    """Make all processes of DAG files use one API server in the dag-processor."""
    create = processor.in_process_api_server

    @functools.cache
    def in_process_api_server() -> Any:
        from airflow.api_fastapi.execution_api.deps import JWTBearerDep
        from airflow.api_fastapi.execution_api.routes.task_instances import ti_id_router

        api = create()
        overrides = api.app.dependency_overrides
        # Airflow 3.0.1 forgets the requests about a task instance, which need a token too.
        for depends in ti_id_router.dependencies:
            overrides[depends.dependency] = overrides[JWTBearerDep.dependency]
        return api

    processor.in_process_api_server = in_process_api_server


PATCHES = (
    Patch(
        name="provide-contexts-of-callbacks",
        module="airflow.dag_processing.manager",
        needs=(
            "DagFileProcessorProcess.start",
            "DagFileProcessorProcess._handle_request",
            "DagFileProcessorProcess.client",
            *(f"{PROCESSOR}:{name}" for name in ANSWERED),
            f"{PROCESSOR}:TypeAdapter",
            f"{PROCESSOR}:ToDagProcessor",
            f"{PROCESSOR}:DagFileParseRequest",
            f"{PROCESSOR}:_execute_callbacks",
            f"{PROCESSOR}:_parse_file_entrypoint",
            "airflow.sdk.execution_time.comms:ToTask",
            "airflow.sdk.execution_time.comms:ToSupervisor",
            "airflow.sdk.execution_time.supervisor:ActivitySubprocess._handle_request",
            "airflow.sdk.execution_time.task_runner:RuntimeTaskInstance.get_template_context",
            "airflow.sdk.execution_time.task_runner:_send_task_error_email",
            "airflow.api_fastapi.execution_api.datamodels.taskinstance:TIRunContext",
            "airflow.sdk.api.datamodels._generated:TIRunContext",
        ),
        distribution=CORE,
        versions=">=3.0.1,<3.0.3",
        kind=Kind.CORRECTNESS,
        reason="Callbacks of DAGs get an empty context, and those of lost tasks do not run.",
        upstream="apache/airflow#53058, #53684, #61274",
        delete_when="Airflow 3.0.6",
        apply=provide_contexts,
    ),
    Patch(
        name="link-task-instances",
        module="airflow.sdk.execution_time.task_runner",
        needs=("RuntimeTaskInstance",),
        distribution="apache-airflow-task-sdk",
        versions=">=1.0.1,<1.0.4",
        kind=Kind.CORRECTNESS,
        reason="Mails and notifiers that link to a task are not sent.",
        upstream="apache/airflow#50376, #55238",
        delete_when="Airflow 3.1; 3.0.4 has only one of the two links",
        apply=link_task_instances,
    ),
    Patch(
        name="share-api-of-dag-files",
        module=PROCESSOR,
        needs=("in_process_api_server", "DagFileProcessorProcess.client"),
        distribution=CORE,
        versions=">=3.0.1,<3.0.2",
        kind=Kind.CORRECTNESS,
        reason="Each pass of a DAG file that reads a variable or connection takes a second more of "
        "the dag-processor, a thread and memory that are never freed.",
        upstream="apache/airflow#50558",
        delete_when="Airflow 3.0.2",
        apply=share_api,
    ),
)
