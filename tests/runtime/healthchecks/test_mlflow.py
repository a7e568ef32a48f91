"""Test MLflow's health check with a curl that records its input."""

import pytest

from tests.support.process import path_with_programs, run

CURL = """
echo "argv: $*" >>"$RECORD"
case "$*" in */health) exit "$HEALTH" ;; *) cat >>"$RECORD"; exit "$SEARCH" ;; esac
"""


@pytest.mark.parametrize(
    ("search", "health", "code"), [("0", "0", 0), ("22", "0", 3), ("28", "28", 1), ("7", "7", 1)]
)
def test_mlflow_check_queries_database_without_password_argument(
    repo, tmp_path, search, health, code
):
    record = tmp_path / "record"
    environment = {"PATH": path_with_programs(tmp_path, curl=CURL), "RECORD": str(record)}
    environment |= {"SEARCH": search, "HEALTH": health}
    environment["STATUS_PASSWORD"] = "of-status"  # pragma: allowlist secret
    script = repo / "orchestration/config/stack_runtime/healthchecks/mlflow.sh"
    result = run("sh", script, env=environment, timeout=20)
    assert result.returncode == code
    argv = [line for line in record.read_text().splitlines() if line.startswith("argv:")]
    assert "experiments/search" in argv[0]
    assert not [line for line in argv if "of-status" in line]
    assert 'user = "status:of-status"' in record.read_text()
