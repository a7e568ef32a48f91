"""MLflow's server in one process.

`mlflow server` imports all of MLflow, prepares the server, then starts uvicorn as a child that
imports it all again, and stays as its parent: 5 CPU-seconds at every start and 200 MiB for ever.
Here the same command prepares the same server, and uvicorn runs where it would have been started.
It reads its settings from the environment; a blank one is not the same as none to it.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import artifact_store
from mlflow_accounts import point_at


def run_here(command: Sequence[str], extra_env: Mapping[str, str], **_: Any) -> NoReturn:
    """Run `python -m uvicorn …` in this process, to its end."""
    import uvicorn

    os.environ.update(extra_env)
    python, module, name, *arguments = command
    assert [python, module, name] == [sys.executable, "-m", "uvicorn"], command
    uvicorn.main(arguments, prog_name="uvicorn")
    sys.exit()


def main() -> None:
    """Drop blank settings, then `mlflow server` behind a login, with uvicorn in its place."""
    artifact_store.settle()
    point_at(os.environ["MLFLOW_BACKEND_STORE_URI"])
    from mlflow import cli, server

    assert callable(server._exec_cmd), "this MLflow starts its server in another way"
    server._exec_cmd = run_here
    destination = os.environ.get("MLFLOW_ARTIFACTS_DESTINATION", "")
    if artifact_store.is_bucket(destination):
        artifact_store.be_brief()
        artifact_store.tell_errors(destination)
        artifact_store.pass_on()
    address = ["--host", os.environ.get("MLFLOW_HOST", "0.0.0.0")]
    address += ["--port", os.environ.get("MLFLOW_PORT", "5000")]
    cli.cli(["server", "--app-name", "basic-auth", *address, "--workers", "1"], prog_name="mlflow")


if __name__ == "__main__":
    main()
