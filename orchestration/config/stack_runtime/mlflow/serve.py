"""MLflow's server in one process: `python -m stack_runtime.mlflow.serve`.

`mlflow server` imports all of MLflow and starts uvicorn as a child, which imports everything again.
This takes 5 CPU-seconds at every start and 200 MiB permanently. Here the same command prepares the
same server, but uvicorn runs in this process. MLflow reads its settings from the environment, where
it treats a blank value as set.
"""

import os

from stack_runtime.mlflow import patches
from stack_runtime.mlflow.accounts import point_at
from stack_runtime.shared import patch_registry, s3


def main() -> None:
    """Apply the patches, then run `mlflow server` with a login."""
    s3.drop_blank_settings()
    point_at(os.environ["MLFLOW_BACKEND_STORE_URI"])
    for patch in patches.PATCHES if patches.bucket() else patches.ALWAYS:
        patch_registry.load(patch)
    from mlflow import cli

    address = ["--host", os.environ.get("MLFLOW_HOST", "0.0.0.0")]
    address += ["--port", os.environ.get("MLFLOW_PORT", "5000")]
    cli.cli(["server", "--app-name", "basic-auth", *address, "--workers", "1"], prog_name="mlflow")


if __name__ == "__main__":
    main()
