"""The real MLflow server with this repository's settings, on SQLite and a free port.

It needs an environment with the packages of install/mlflow.lock, which `nox -s tests_mlflow` makes
and names in MLFLOW_PYTHON.
"""

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import requests

from tests.support.http_stub import unused_port
from tests.support.repository import ROOT

CONFIG = ROOT / "orchestration/config"
START_SECONDS = 120
PASSWORDS = {"admin": "admin-for-tests", "worker": "worker-for-tests", "status": "status-for-tests"}
# What the init job does on PostgreSQL, and the schema of the backend store.
PREPARE = """
from stack_runtime.mlflow import accounts, init_database
import os
uri = os.environ["MLFLOW_BACKEND_STORE_URI"]
init_database.migrate(uri)
list(accounts.create_accounts(accounts.open_store(), lambda: accounts.store_contents(uri)))
"""


class MlflowServer:
    """A server that runs during its `with` block; `python` has its packages."""

    def __init__(self, folder: Path, python: str, module: str = "stack_runtime.mlflow.serve"):
        self.folder, self.python, self.module = folder, python, module
        self.port = unused_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "server.log"

    def __enter__(self) -> "MlflowServer":
        ini = (CONFIG / "mlflow_auth.ini").read_text()
        uri = f"database_uri = sqlite:///{self.folder}/accounts.db"
        (self.folder / "auth.ini").write_text(re.sub("database_uri = .*", uri, ini))
        subprocess.run([self.python, "-c", PREPARE], env=self.environment(), check=True)
        argv = [self.python, "-P", "-m", self.module]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                argv, env=self.environment(), stdout=log, stderr=log, cwd=self.folder
            )
        self._await_start()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(30)

    def environment(self) -> dict[str, str]:
        """Return the variables of the service, as in docker-compose.yaml."""
        compose = (ROOT / "orchestration/docker-compose.yaml").read_text()
        hosts = re.search(r"MLFLOW_SERVER_ALLOWED_HOSTS: (\S+)", compose)
        assert hosts
        values = {"MLFLOW_PORT": str(self.port), "BIND_ADDRESS": "127.0.0.1"}
        filled = re.sub(r"\$\{(\w+)[^}]*\}", lambda match: values[match[1]], hosts[1])
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "PYTHONPATH": str(CONFIG),
            "MLFLOW_HOST": "127.0.0.1",
            "MLFLOW_PORT": str(self.port),
            "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{self.folder}/store.db",
            "MLFLOW_ARTIFACTS_DESTINATION": str(self.folder / "artifacts"),
            "MLFLOW_AUTH_CONFIG_PATH": str(self.folder / "auth.ini"),
            "MLFLOW_FLASK_SERVER_SECRET_KEY": "for-tests",  # pragma: allowlist secret
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ALLOWED_HOSTS": filled,
            "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": self.url,
            "MLFLOW_ADMIN_PASSWORD": PASSWORDS["admin"],
            "MLFLOW_WORKER_PASSWORD": PASSWORDS["worker"],
            "STATUS_PASSWORD": PASSWORDS["status"],
        }

    def _await_start(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                return requests.get(f"{self.url}/health", timeout=5).raise_for_status()
            except requests.RequestException:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(self.log.read_text()[-4000:]) from None
                time.sleep(0.2)

    def memory(self) -> int:
        """Return the largest amount of memory that the server has used, in bytes."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        [kib] = re.findall(r"VmHWM:\s+(\d+) kB", text)
        return int(kib) * 1024

    def start_client(self, name: str, password: str, code: str) -> subprocess.Popen[str]:
        """Start Python code with MLflow's client and none of our code, as an account."""
        variables = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "MLFLOW_TRACKING_URI": self.url,
            "MLFLOW_TRACKING_USERNAME": name,
            "MLFLOW_TRACKING_PASSWORD": password,
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "GIT_PYTHON_REFRESH": "quiet",
        }
        return subprocess.Popen(
            [self.python, "-P", "-c", code],
            env=variables,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def client(self, name: str, password: str, code: str) -> tuple[int, str]:
        """Run code as `start_client` does, and return its exit code and output."""
        process = self.start_client(name, password, code)
        output, _ = process.communicate(timeout=170)
        return process.returncode, output

    def send(self, method: str, path: str, name: str, **options: Any) -> requests.Response:
        """Send a request as one of the stack's accounts."""
        auth = (name, PASSWORDS[name])
        return requests.request(method, self.url + path, auth=auth, timeout=60, **options)


if __name__ == "__main__":
    with MlflowServer(Path(sys.argv[1]), sys.argv[2]) as server:
        print(server.url, flush=True)
        server.process.wait()
