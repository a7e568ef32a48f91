"""Keep secrets of a task out of its log and its page.

The supervisor writes the log, but in Airflow 3.0.1 it does not know what the task masks.
"""

import functools
import json
import os
from contextlib import suppress
from typing import Any

from stack_runtime.shared.patch_registry import Kind, Patch

SDK = "apache-airflow-task-sdk"
MASKER = "airflow.sdk.execution_time.secrets_masker"
CONTEXT = "airflow.sdk.execution_time.context"
COMMS = "airflow.sdk.execution_time.comms"


@functools.cache
def secret_message() -> Any:
    """Return the type of the message in which a task sends a secret to its supervisor."""
    from typing import Literal

    from airflow.sdk.execution_time import comms

    class MaskSecret(comms.BaseModel):  # type: ignore[misc]
        value: str
        type: Literal["MaskSecret"] = "MaskSecret"

    return MaskSecret


def send_secrets(runner: Any) -> None:
    """Send the secrets of a task to its supervisor, which masks them in the log."""
    from airflow.sdk.execution_time import context, secrets_masker

    mask, startup = secrets_masker.mask_secret, runner.startup
    get_connection, get_variable = context._get_connection, context._get_variable

    def connection(conn_id: str) -> Any:
        found = get_connection(conn_id)
        mask(found.password)
        with suppress(ValueError):
            mask(json.loads(found.extra or "{}"))
        return found

    def variable(key: str, *args: Any, **options: Any) -> Any:
        value = get_variable(key, *args, **options)
        mask(value, key)
        return value

    def startup_sending() -> Any:
        masker, comms = secrets_masker._secrets_masker(), runner.SUPERVISOR_COMMS
        process = os.getpid()
        add = masker.add_mask

        def add_mask(secret: Any, name: str | None = None) -> None:
            known = len(masker.patterns)
            # Calls `add_mask` for each item of a collection.
            add(secret, name)
            is_new = isinstance(secret, str) and len(masker.patterns) > known
            # Other processes of the task share the socket.
            if is_new and comms.request_socket and os.getpid() == process:
                line = secret_message()(value=secret).model_dump_json()
                with comms.lock:
                    comms.request_socket.write(f"{line}\n".encode())
                    comms.get_message()

        masker.add_mask = add_mask
        return startup()

    context._get_connection, context._get_variable = connection, variable
    runner.startup = startup_sending


def mask_secrets(supervisor: Any) -> None:
    """Mask secrets of a task in its log and rendered fields, and no other variables."""
    from airflow.sdk.execution_time import secrets_masker
    from airflow.sdk.execution_time.comms import OKResponse

    mask, message = supervisor.mask_secret, secret_message()
    names: list[str | None] = [None]

    class Masking(supervisor.ActivitySubprocess):  # type: ignore[misc]
        decoder = supervisor.TypeAdapter(supervisor.ToSupervisor | message)

        def _handle_request(self, msg: Any, *args: Any) -> None:
            if isinstance(msg, message):
                mask(msg.value)
                self.send_msg(OKResponse(ok=True))
                return
            if isinstance(msg, supervisor.SetRenderedFields):
                fields = msg.rendered_fields.items()
                msg.rendered_fields = {k: secrets_masker.redact(v, k) for k, v in fields}
            names[0] = msg.key if isinstance(msg, supervisor.GetVariable) else None
            super()._handle_request(msg, *args)

    # Airflow 3.0.1 does not pass the name of a variable, so it masks each value.
    supervisor.mask_secret = lambda value: mask(value, names[0])
    supervisor.ActivitySubprocess = Masking


PATCHES = (
    Patch(
        name="send-secrets-to-supervisor",
        module="airflow.sdk.execution_time.task_runner",
        needs=(
            "startup",
            f"{MASKER}:SecretsMasker.add_mask",
            f"{MASKER}:_secrets_masker",
            f"{CONTEXT}:_get_connection",
            f"{CONTEXT}:_get_variable",
            f"{COMMS}:BaseModel",
            "CommsDecoder.get_message",
            "CommsDecoder.request_socket",
            "CommsDecoder.lock",
        ),
        distribution=SDK,
        versions=">=1.0.1,<1.0.3",
        kind=Kind.CORRECTNESS,
        reason="Logs show values that a task passed to `mask_secret`, and passwords from the "
        "environment, from a secrets backend or in the extra of a connection.",
        upstream="apache/airflow#50895, #54574, #54612",
        delete_when="Airflow 3.0.5",
        apply=send_secrets,
    ),
    Patch(
        name="mask-secrets-of-tasks",
        module="airflow.sdk.execution_time.supervisor",
        needs=(
            "mask_secret",
            "TypeAdapter",
            "ToSupervisor",
            "GetVariable",
            "SetRenderedFields",
            "ActivitySubprocess.decoder",
            "ActivitySubprocess.send_msg",
            "ActivitySubprocess._handle_request",
            f"{MASKER}:redact",
            f"{COMMS}:OKResponse",
            f"{COMMS}:BaseModel",
        ),
        distribution=SDK,
        versions=">=1.0.1,<1.0.3",
        kind=Kind.CORRECTNESS,
        reason="The page of a task shows passwords in rendered templates, and its log hides every "
        "variable.",
        upstream="apache/airflow#50775, #54574, #58767",
        delete_when="Airflow 3.1.5; 3.0.5 masks logs only",
        apply=mask_secrets,
    ),
)
