"""Send mails about tasks whose worker died, and verify the certificate of the mail server."""

import ssl
from typing import Any

from stack_runtime.airflow.patches.scheduling import CORE, EVENTS, SCHEDULER, withheld_callbacks
from stack_runtime.shared.patch_registry import Kind, Patch


def request_mails(scheduler: Any) -> None:
    """Let the dag-processor send the mails that the scheduler would send (dag_callbacks.py)."""
    mails: list[Any] = []

    def request_mail(ti: Any, exception: Any, task: Any) -> None:
        request = scheduler.TaskCallbackRequest(
            filepath=ti.dag_model.relative_fileloc,
            bundle_name=ti.dag_version.bundle_name,
            bundle_version=ti.dag_version.bundle_version,
            ti=ti,
            msg=str(exception),
            task_callback_type=ti.state,
        )
        mails.append(request)

    class MailsRequested(scheduler.SchedulerJobRunner):  # type: ignore[misc]
        @classmethod
        def process_executor_events(
            cls, executor: Any, job_id: Any, scheduler_dag_bag: Any, session: Any
        ) -> int:
            mails.clear()
            with withheld_callbacks(executor) as callbacks:
                count: int = super().process_executor_events(
                    executor, job_id, scheduler_dag_bag, session
                )
            # One request is enough for the callbacks of a task and its mail.
            requests = {_key(request.ti): request for request in (*mails, *callbacks)}
            for request in requests.values():
                executor.send_callback(request)
            return count

    scheduler.TaskInstance.email_alert = request_mail
    scheduler.SchedulerJobRunner = MailsRequested


def _key(ti: Any) -> tuple[Any, ...]:
    return ti.dag_id, ti.run_id, ti.task_id, ti.map_index


def verify_starttls(hooks: Any) -> None:
    """Verify the certificate after STARTTLS, as for TLS, unless the connection disables it."""
    build = hooks.SmtpHook._build_client

    def build_client(hook: Any) -> Any:
        client = build(hook)
        if hook.ssl_context != "none":
            start = client.starttls
            client.starttls = lambda: start(context=ssl.create_default_context())
        return client

    hooks.SmtpHook._build_client = build_client


PATCHES = (
    Patch(
        name="send-mails-in-dag-processor",
        module=SCHEDULER,
        needs=(*EVENTS, "TaskInstance.email_alert", "TaskCallbackRequest"),
        distribution=CORE,
        versions=">=3.0.1,<3.0.3",
        kind=Kind.CORRECTNESS,
        reason="The scheduler waits for the mail server if the worker of a task with `email` dies, "
        "and reaches none in its container.",
        upstream="apache/airflow#55238",
        delete_when="Airflow 3.1; the dag-processor of 3.0.3 to 3.0.6 sends no such mail",
        apply=request_mails,
    ),
    Patch(
        name="verify-starttls",
        module="airflow.providers.smtp.hooks.smtp",
        needs=("SmtpHook._build_client", "SmtpHook.ssl_context"),
        distribution="apache-airflow-providers-smtp",
        versions=">=2.0.3,<3",
        kind=Kind.CORRECTNESS,
        reason="Anyone between the stack and the mail server can read mails and the password.",
        upstream="apache/airflow#65346",
        delete_when="version 3.0.0 of the provider",
        apply=verify_starttls,
    ),
)
