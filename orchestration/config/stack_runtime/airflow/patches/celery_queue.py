"""Keep each task once in Celery's queue, and only as many as can start soon.

In 3.0.1 the scheduler queues a task again that has waited for ten minutes, although its message is
still in Redis. The later message makes a running task fail. A message that Redis does not take, or
whose token has expired, makes its task fail too.
"""

import base64
import json
import logging
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import uuid4

from stack_runtime.shared.patch_registry import Kind, Patch

LOG = logging.getLogger("stack_runtime.celery_queue")
EXECUTOR = "airflow.providers.celery.executors.celery_executor"
UTILS = f"{EXECUTOR}_utils"
PROVIDER = "apache-airflow-providers-celery"
# More tasks are in Redis than run: at least so many, or as many as finished within these seconds.
SPARE_TASKS, SPARE_SECONDS = 2, 2.0


def messages(queues: Iterable[str], received_since: float = 0) -> dict[str, str] | None:
    """Return Celery's IDs of the tasks in Redis by the IDs of their task instances.

    These are the messages in `queues`, and those that a worker has received since then and not
    acknowledged. Return None if Redis does not answer.
    """
    from airflow.providers.celery.executors import celery_executor_utils as utils
    from redis import RedisError

    try:
        with (
            utils.timeout(seconds=utils.OPERATION_TIMEOUT),
            utils.app.connection_for_read() as connection,
        ):
            channel = connection.channel()
            # One transaction, because a message that moves meanwhile would be in no answer.
            with channel.client.pipeline() as pipe:
                for queue in queues:
                    pipe.lrange(queue, 0, -1)
                pipe.hgetall(channel.unacked_key)
                pipe.zrange(channel.unacked_index_key, 0, -1, withscores=True)
                *waiting, unacknowledged, times = pipe.execute()
    except (RedisError, OSError, utils.AirflowTaskTimeout) as error:
        LOG.warning("The tasks in Redis are unknown: %s.", type(error).__name__)
        return None
    received = {tag for tag, when in times if when >= received_since}
    found = [json.loads(text) for texts in waiting for text in texts]
    found += [json.loads(unacknowledged[tag])[0] for tag in received & unacknowledged.keys()]
    return {_task_instance(message): message["headers"]["id"] for message in found}


def _task_instance(message: Mapping[str, Any]) -> str:
    arguments = json.loads(base64.b64decode(message["body"]))[0]
    identifier: str = json.loads(arguments[0])["ti"]["id"]
    return identifier


def keep_sent_tasks(executor: Any) -> None:
    """Let the executor find its messages in Redis, also those that it had sent before a crash."""
    states = executor.TaskInstanceState

    class CeleryExecutor(executor.CeleryExecutor):  # type: ignore[misc]
        def lost(self, tis: Sequence[Any], seconds: float) -> list[Any]:
            """Return which of these queued tasks have no message.

            A task that a worker received this long ago and did not start counts as lost with it.
            """
            sent = messages({ti.queue for ti in tis}, time.time() - seconds)
            return [ti for ti in tis if sent is not None and ti.id not in sent]

        def revoke_task(self, *, ti: Any) -> None:
            # There is no message to revoke, and Redis may hang.
            self.tasks.pop(ti.key, None)
            super().revoke_task(ti=ti)

        def try_adopt_task_instances(self, tis: Sequence[Any]) -> Sequence[Any]:
            sent = messages({ti.queue for ti in tis})
            if sent is not None:
                tis = [ti for ti in tis if self._find(ti, sent)]
            remaining: Sequence[Any] = super().try_adopt_task_instances(tis)
            return remaining

        def _find(self, ti: Any, sent: Mapping[str, str]) -> bool:
            if ti.id in sent:
                ti.external_executor_id = sent[ti.id]
            elif ti.state == states.QUEUED:
                LOG.info("The task %s was queued, but not sent.", ti)
                ti.state, ti.queued_dttm, ti.external_executor_id = states.SCHEDULED, None, None
            return bool(ti.state != states.SCHEDULED)

    executor.CeleryExecutor = CeleryExecutor


def requeue_lost_tasks_only(scheduler: Any) -> None:
    """Count a queued task as stuck only if its message is lost, however long it waits."""

    class LostOnly(scheduler.SchedulerJobRunner):  # type: ignore[misc]
        def _get_tis_stuck_in_queued(self, session: Any) -> list[Any]:
            stuck: list[Any] = []
            found = super()._get_tis_stuck_in_queued(session)
            for executor, tis in self._executor_to_tis(found).items():
                # An executor keeps a task that it has not sent yet.
                sent = [ti for ti in tis if ti.key not in executor.queued_tasks]
                lost = getattr(executor, "lost", None)
                stuck += lost(sent, self._task_queued_timeout) if lost and sent else sent
            return stuck

    scheduler.SchedulerJobRunner = LostOnly


def send_again(executor: Any) -> None:
    """Keep a task that Redis does not take for the next round, and stop sending in this round."""

    class CeleryExecutor(executor.CeleryExecutor):  # type: ignore[misc]
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            # An attempt that failed may have reached Redis. With the same ID, a second message
            # is a copy of the first.
            self.celery_ids: defaultdict[Any, str] = defaultdict(lambda: str(uuid4()))

        def start(self) -> None:
            from airflow.providers.celery.executors.celery_executor_utils import app

            super().start()
            # This imports Redis' client. The first send has only the time of any other.
            app.connection_for_write().transport  # noqa: B018

        def _send_tasks_to_celery(self, task_tuples_to_send: Sequence[Any]) -> list[Any]:
            from airflow.providers.celery.executors import celery_executor_utils as utils
            from celery.exceptions import OperationalError

            sent: list[Any] = []
            for key, workload, queue, task in task_tuples_to_send:
                again = task.signature(task_id=self.celery_ids[key])
                outcome = utils.send_task_to_executor((key, workload, queue, again))
                error = getattr(outcome[2], "exception", None)
                if isinstance(error, OperationalError | utils.AirflowTaskTimeout):
                    count = len(task_tuples_to_send) - len(sent)
                    LOG.warning("Redis takes no tasks now; %d are sent later: %s", count, error)
                    break
                del self.celery_ids[key]
                sent.append(outcome)
            return sent

    executor.CeleryExecutor = CeleryExecutor


def leave_out_other_queues(executor: Any) -> None:
    """Let only tasks of the default queue take slots, as the stack's worker serves no other."""
    default = executor.conf.get_mandatory_value("operators", "default_queue")

    class CeleryExecutor(executor.CeleryExecutor):  # type: ignore[misc]
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.elsewhere: set[Any] = set()

        def queue_workload(self, workload: Any, session: Any) -> None:
            super().queue_workload(workload, session)
            self._note_queues([workload.ti])

        def try_adopt_task_instances(self, tis: Sequence[Any]) -> Sequence[Any]:
            self._note_queues(tis)
            remaining: Sequence[Any] = super().try_adopt_task_instances(tis)
            return remaining

        def _note_queues(self, tis: Iterable[Any]) -> None:
            self.elsewhere |= {ti.key for ti in tis if ti.queue != default}

        @property
        def slots_occupied(self) -> int:
            self.elsewhere &= self.running | self.queued_tasks.keys()
            return len(self.running) + len(self.queued_tasks) - len(self.elsewhere)

        @property
        def slots_available(self) -> int:
            return int(self.parallelism - self.slots_occupied)

    executor.CeleryExecutor = CeleryExecutor


def hold_tasks_back(executor: Any) -> None:
    """Send tasks of the default queue when they can start soon, in the order of their priority."""
    leave_out_other_queues(executor)
    concurrency = executor.conf.getint("celery", "worker_concurrency")

    class CeleryExecutor(executor.CeleryExecutor):  # type: ignore[misc]
        slots = concurrency

        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.ends: deque[float] = deque()

        def change_state(self, *args: Any, **options: Any) -> None:
            super().change_state(*args, **options)
            self.ends.append(time.monotonic())

        def trigger_tasks(self, open_slots: int) -> None:
            while self.ends and self.ends[0] < time.monotonic() - SPARE_SECONDS:
                self.ends.popleft()
            sent = len(self.running - self.elsewhere)
            limit = max(0, self.slots + max(SPARE_TASKS, len(self.ends)) - sent)
            ordered = [key for key, _ in self.order_queued_tasks_by_priority()]
            own = [key for key in ordered if key not in self.elsewhere]
            held = {key: self.queued_tasks.pop(key) for key in own[limit:]}
            try:
                super().trigger_tasks(len(self.queued_tasks))
            finally:
                self.queued_tasks.update(held)

    executor.CeleryExecutor = CeleryExecutor


def ignore_refused_messages(utils: Any) -> None:
    """Drop a message that the API server refuses for its token, or because its task runs already.

    The result of a copy would end the running task. A task whose token has expired stays queued
    without a message, so the scheduler sends it again with a new token.
    """
    from celery.exceptions import Ignore

    run = utils.execute_workload.run

    def execute(input: str) -> None:
        try:
            run(input)
        except Exception as error:
            if not (reason := _refusal(error)):
                raise
            LOG.warning("The message is dropped, because the API server refused it: %s", reason)
            raise Ignore() from error

    utils.execute_workload.run = execute


def _refusal(error: Any) -> str:
    """Return the API server's answer if it refused to start the task for one of these reasons."""
    # Only workers import this module.
    from airflow.sdk.api.client import ServerResponseError

    if not isinstance(error, ServerResponseError) or error.request.url.path[-4:] != "/run":
        return ""
    detail = error.response.json()["detail"]
    runs = isinstance(detail, dict) and detail.get("previous_state") == "running"
    return str(error.response.text) if runs or error.response.status_code in (401, 403) else ""


PATCHES = (
    Patch(
        name="keep-sent-tasks",
        module=EXECUTOR,
        needs=(
            "TaskInstanceState.SCHEDULED",
            "CeleryExecutor.revoke_task",
            "CeleryExecutor.try_adopt_task_instances",
            f"{UTILS}:app.connection_for_read",
            f"{UTILS}:timeout",
            f"{UTILS}:OPERATION_TIMEOUT",
            f"{UTILS}:AirflowTaskTimeout",
            "kombu.transport.redis:Channel.unacked_key",
            "kombu.transport.redis:Channel.unacked_index_key",
        ),
        distribution=PROVIDER,
        versions=">=3.10.6,<3.16",
        kind=Kind.CORRECTNESS,
        reason="A task that was sent just before the scheduler died runs twice, or its new try "
        "ends with the result of the previous one.",
        upstream="apache/airflow#58570, #65594",
        delete_when="Airflow 3.2.2 with version 3.19 of the provider",
        apply=keep_sent_tasks,
    ),
    Patch(
        name="requeue-lost-tasks-only",
        module="airflow.jobs.scheduler_job_runner",
        needs=(
            "SchedulerJobRunner._get_tis_stuck_in_queued",
            "SchedulerJobRunner._executor_to_tis",
        ),
        distribution="apache-airflow-core",
        versions=">=3.0.1,<3.2",
        kind=Kind.CORRECTNESS,
        reason="A task that waits in Redis for ten minutes is sent again, so it may run twice, and "
        "fails after some repetitions.",
        upstream="none",
        delete_when="Airflow requeues only tasks without a message",
        apply=requeue_lost_tasks_only,
    ),
    Patch(
        name="send-tasks-again",
        module=EXECUTOR,
        needs=(
            "CeleryExecutor.start",
            "CeleryExecutor._send_tasks_to_celery",
            f"{UTILS}:send_task_to_executor",
            f"{UTILS}:app.connection_for_write",
            f"{UTILS}:AirflowTaskTimeout",
        ),
        distribution=PROVIDER,
        versions=">=3.10.6,<3.16",
        kind=Kind.CORRECTNESS,
        reason="Tasks fail while Redis restarts, and a Redis that hangs stops the scheduler for "
        "minutes.",
        upstream="apache/airflow#41359 for the import",
        delete_when="Airflow keeps a task that its broker does not take",
        apply=send_again,
    ),
    Patch(
        name="hold-tasks-back",
        module=EXECUTOR,
        needs=(
            "conf",
            "CeleryExecutor.queue_workload",
            "CeleryExecutor.try_adopt_task_instances",
            "CeleryExecutor.change_state",
            "CeleryExecutor.trigger_tasks",
            "CeleryExecutor.order_queued_tasks_by_priority",
            "CeleryExecutor.slots_available",
            "CeleryExecutor.slots_occupied",
        ),
        distribution=PROVIDER,
        versions=">=3.10.6,<3.16",
        kind=Kind.CORRECTNESS,
        reason="An urgent task waits behind all tasks in Redis, and tasks of a queue that nobody "
        "serves block all others.",
        upstream="none",
        delete_when="Airflow sends tasks by the free slots of each queue",
        apply=hold_tasks_back,
    ),
    Patch(
        name="ignore-refused-messages",
        module=UTILS,
        needs=("execute_workload.run",),
        distribution="apache-airflow-task-sdk",
        versions=">=1.0.1,<1.2",
        kind=Kind.CORRECTNESS,
        reason="A running task fails if its message is delivered again, and a task fails if it "
        "waits for a day or a secret is replaced meanwhile.",
        upstream="apache/airflow#58441, #60855, #64052, #60108",
        delete_when="Airflow 3.2.2 with version 3.18 of the provider",
        apply=ignore_refused_messages,
    ),
)
