"""A fake HTTP server for Airflow, MLflow and the status page."""

from collections.abc import Collection, Mapping
from typing import Any

from tests.support.fake_engine import LONG_RUNNING
from tests.support.http_stub import HttpStub


class FakePages(HttpStub):
    """One HTTP stub that serves Airflow, MLflow and the status page of a project."""

    project = ""

    def serve_stack(
        self,
        services: Collection[str] = LONG_RUNNING,
        work: Collection[Mapping[str, Any]] = (),
        **states: str,
    ) -> dict[str, int]:
        """Serve a healthy stack, except for services in `states`; return the ports as settings."""
        verdicts = [
            {"name": name, "state": states.get(name, "up"), "detail": f"detail of {name}"}
            for name in services
            if name != "status"
        ]
        self.answers |= {
            "GET /api/v2/version": (200, {"version": "3.0.1"}),
            "POST /api/2.0/mlflow/experiments/search": (200, {"experiments": []}),
            "GET /status.json": (200, self.page(services=verdicts, work=work)),
        }
        return dict.fromkeys(("AIRFLOW_PORT", "MLFLOW_PORT", "STATUS_PORT"), self.port)

    def page(self, **fields: Any) -> dict[str, Any]:
        """Return the document of this project's status page, started without `inv`."""
        return {"project": self.project, "stack": "", **fields}
