"""MLflow's health check, with a curl that writes down what it was asked."""

import pytest

from tests.support.process import put_before, run

CURL = """
echo "argv: $*" >>"$SAID"
case "$*" in */health) exit "$BARE" ;; *) cat >>"$SAID"; exit "$ASKED" ;; esac
"""


@pytest.mark.parametrize(
    ("asked", "bare", "code"), [("0", "0", 0), ("22", "0", 3), ("28", "28", 1), ("7", "7", 1)]
)
def test_the_health_check_asks_the_database_and_keeps_its_password_out_of_arguments(
    repo, tmp_path, asked, bare, code
):
    said = tmp_path / "said"
    given = {"PATH": put_before(tmp_path, curl=CURL), "SAID": str(said)}
    given |= {"ASKED": asked, "BARE": bare}
    given["STATUS_PASSWORD"] = "of-status"  # pragma: allowlist secret
    script = repo / "orchestration/config/stack_runtime/healthchecks/mlflow.sh"
    check = run("sh", script, env=given, timeout=20)
    assert check.returncode == code
    argv = [line for line in said.read_text().splitlines() if line.startswith("argv:")]
    assert "experiments/search" in argv[0]
    assert not [line for line in argv if "of-status" in line]
    assert 'user = "status:of-status"' in said.read_text()
