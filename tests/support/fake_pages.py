"""One HTTP server for Airflow, MLflow and the status page."""

from collections.abc import Collection, Mapping
from typing import Any

from tests.support.fake_engine import LONG_RUNNING
from tests.support.http_stub import HttpStub


class FakePages(HttpStub):
    """Answers for Airflow, MLflow and the status page."""

    def stack_is_well(
        self,
        services: Collection[str] = LONG_RUNNING,
        work: Collection[Mapping[str, Any]] = (),
        **states: str,
    ) -> dict[str, int]:
        """Answer all of `inv health` well; `states` replaces single verdicts. Return the ports."""
        verdicts = [
            {"name": name, "state": states.get(name, "up"), "detail": f"{name} says so"}
            for name in services
            if name != "status"
        ]
        self.answers |= {
            "GET /api/v2/version": (200, {"version": "3.0.1"}),
            "POST /api/2.0/mlflow/experiments/search": (200, {"experiments": []}),
            "GET /status.json": (200, {"services": verdicts, "work": work}),
        }
        return dict.fromkeys(("AIRFLOW_PORT", "MLFLOW_PORT", "STATUS_PORT"), self.port)
