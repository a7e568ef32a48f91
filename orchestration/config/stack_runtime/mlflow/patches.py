"""Patches of MLflow's server: the registry."""

import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any

from stack_runtime.mlflow import assistant
from stack_runtime.mlflow.body_limits import BodyLimits, refusal_of
from stack_runtime.mlflow.creations import Creations, is_active_experiment
from stack_runtime.shared import s3
from stack_runtime.shared.patch_registry import Kind, Patch
from stack_runtime.shared.s3_errors import aws_errors, explain, is_missing_object

DISTRIBUTION, VERSIONS = "mlflow", ">=3.17,<3.18"
LOG = logging.getLogger("mlflow.store.artifact")
# MLflow's client does not retry this status. It retries others for minutes without a message.
FAILED_DEPENDENCY = 424
# The methods with which MLflow's server accesses a bucket.
BUCKET_METHODS = (
    "log_artifact", "log_artifacts", "list_artifacts", "download_artifacts", "_download_file",
    "delete_artifacts",
)  # fmt: skip


def bucket() -> str:
    """Return the bucket of artifacts; blank if they are in a folder."""
    destination = os.environ.get("MLFLOW_ARTIFACTS_DESTINATION", "")
    return destination if s3.is_bucket(destination) else ""


def serve_in_process(server: Any) -> None:
    """Make `mlflow server` run `python -m uvicorn …` in its own process."""
    start_child = server._exec_cmd

    def run_here(command: Sequence[str], extra_env: Mapping[str, str], **options: Any) -> Any:
        if [*command[:3]] != [sys.executable, "-m", "uvicorn"]:
            LOG.warning("MLflow starts its server with another command: %s.", " ".join(command[:4]))
            return start_child(command, extra_env=extra_env, **options)
        import uvicorn

        os.environ.update(extra_env)
        uvicorn.main(command[3:], prog_name="uvicorn")
        return sys.exit()

    server._exec_cmd = run_here


def check_requests_first(auth: Any) -> None:
    """Make the server check credentials before it reads a body, and creations one by one."""
    create = auth.create_app

    @wraps(create)
    def create_app(*args: Any, **options: Any) -> Any:
        flask_app = auth.app
        flask_app.wsgi_app = Creations(flask_app.wsgi_app, is_active_experiment)
        server = create(*args, **options)
        server.add_middleware(BodyLimits, refusal=refusal_of(auth))
        return server

    auth.create_app = create_app


def explain_bucket_errors(s3_artifact_repo: Any) -> None:
    """Make the server answer with the cause and fix of a bucket's error, and log the error."""
    from mlflow.exceptions import MlflowException
    from mlflow.store.artifact import artifact_repository_registry as registry

    def explained(method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def call(*args: Any, **options: Any) -> Any:
            try:
                return method(*args, **options)
            except (MlflowException, *aws_errors()) as error:
                raise answer_for(error, bucket()) from error

        return call

    repository = s3_artifact_repo.S3ArtifactRepository
    methods = {name: explained(getattr(repository, name)) for name in BUCKET_METHODS}
    explaining = type("ExplainingArtifactRepository", (repository,), methods)
    registry._artifact_repository_registry.register("s3", explaining)


def serve_artifacts_itself(handlers: Any) -> None:
    """Make the server transfer artifacts itself instead of giving clients URLs of the bucket."""

    class Nobody:
        """A class that no repository is an instance of."""

    handlers.MultipartUploadMixin = handlers.MultipartDownloadMixin = Nobody


def answer_for(error: Exception, destination: str) -> Any:
    """Return the exception with which MLflow's server answers an error of its bucket."""
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST

    prefix = f"artifact store {destination}: "
    # If several files fail at once, MLflow joins their messages line by line.
    text = next((line for line in str(error).splitlines() if line.startswith(prefix)), "")
    cause = error if isinstance(error, aws_errors()) else error.__context__
    if not text:
        if not isinstance(cause, aws_errors()):
            return error
        if is_missing_object(cause):
            return MlflowException("The artifact does not exist.", RESOURCE_DOES_NOT_EXIST)
        trouble = explain(cause, destination)
        LOG.error("%s%s (%s)", prefix, trouble.cause, cause)
        text = f"{prefix}{trouble.cause}; {trouble.fix}"
    answer = MlflowException(text)
    answer.get_http_status_code = lambda: FAILED_DEPENDENCY
    return answer


ONE_PROCESS = Patch(
    name="serve-mlflow-in-one-process",
    module="mlflow.server",
    needs=("_exec_cmd",),
    distribution=DISTRIBUTION,
    versions=VERSIONS,
    kind=Kind.SPEED,
    reason="The server imports MLflow twice: 5 CPU-seconds at each start, and 200 MiB.",
    upstream="none",
    delete_when="`mlflow server` runs uvicorn in its own process",
    apply=serve_in_process,
)
FIRST_CHECKS = Patch(
    name="check-requests-first",
    module="mlflow.server.auth",
    needs=(
        "app",
        "authenticate_request",
        "create_app",
        "mlflow.server.handlers:_get_tracking_store",
    ),
    distribution=DISTRIBUTION,
    versions=VERSIONS,
    kind=Kind.CORRECTNESS,
    reason="Bodies are read into memory before the password is checked. Processes that use a new "
    "experiment at the same time are refused, or log to the experiment Default.",
    upstream="mlflow/mlflow#10334",
    delete_when="MLflow checks credentials first and grants an experiment as it creates it",
    apply=check_requests_first,
)
NO_ASSISTANT = Patch(
    name="hide-assistant",
    module="mlflow.server",
    needs=("app.static_folder", f"app.view_functions.{assistant.VIEW}"),
    distribution=DISTRIBUTION,
    versions=VERSIONS,
    # Without it the server works, and refuses the assistant's requests all the same.
    kind=Kind.SPEED,
    reason="On localhost a panel for an assistant, which the server refuses, opens by itself.",
    upstream="none",
    delete_when="MLflow has a setting for it",
    apply=assistant.hide,
)
# Applied only if artifacts are in a bucket.
BUCKET_PATCHES = (
    Patch(
        name="explain-bucket-errors",
        module="mlflow.store.artifact.s3_artifact_repo",
        needs=(
            *(f"S3ArtifactRepository.{name}" for name in BUCKET_METHODS),
            "mlflow.store.artifact.artifact_repository_registry:"
            "_artifact_repository_registry.register",
        ),
        distribution=DISTRIBUTION,
        versions=VERSIONS,
        kind=Kind.CORRECTNESS,
        reason="When the bucket fails, clients repeat a request for minutes and show no cause.",
        upstream="none",
        delete_when="MLflow answers with the bucket's error and a status that is not repeated",
        apply=explain_bucket_errors,
    ),
    Patch(
        name="serve-artifacts-itself",
        module="mlflow.server.handlers",
        needs=("MultipartUploadMixin", "MultipartDownloadMixin"),
        distribution=DISTRIBUTION,
        versions=VERSIONS,
        kind=Kind.CORRECTNESS,
        reason="Clients get signed addresses of the bucket, which they may not reach or trust.",
        upstream="none",
        delete_when="MLflow has a setting for it",
        apply=serve_artifacts_itself,
    ),
    s3.SHORT_TIMEOUTS,
)
ALWAYS = (ONE_PROCESS, FIRST_CHECKS, NO_ASSISTANT)
PATCHES = (*ALWAYS, *BUCKET_PATCHES)
