"""Test heal.sh in the mode `report`, in which it kills nothing."""

import re
import time

import pytest
import yaml

from tests.support.process import run
from tests.support.repository import ROOT

HEAL = ROOT / "orchestration/config/stack_runtime/healthchecks/heal.sh"
SERVICES = yaml.safe_load((ROOT / "orchestration/docker-compose.yaml").read_text())["services"]
SERVICES_WITH_CHECK = [name for name, body in SERVICES.items() if "healthcheck" in body]
RESTARTING = "The service failed 2 checks in a row. Restarting it."


@pytest.fixture
def heal(tmp_path):
    """Run one health check, for which 2 misses are too many; return exit code and output."""

    def heal(*check):
        state = {"PATH": "/usr/bin:/bin", "HEAL_STATE": str(tmp_path / "state")}
        result = run("sh", HEAL, "report", "2", *check, env=state)
        return result.returncode, result.stdout.removeprefix("heal: ").strip()

    return heal


def test_heal_two_misses_restart_service(heal):
    assert [heal("false") for _ in range(4)] == [(1, ""), (1, RESTARTING)] * 2


def test_heal_success_resets_misses(heal):
    checks = ["false", "true", "false", "true"]
    assert [heal(check) for check in checks] == [(1, ""), (0, "")] * 2


def test_heal_missing_other_service_is_no_miss(heal):
    no_server = ("sh", "-c", "exit 3")
    assert [heal("false"), heal(*no_server), heal("false"), heal(*no_server)] == [(1, "")] * 4


def test_heal_after_three_restarts_within_the_hour_stops(heal, tmp_path):
    outputs = [heal("false")[1] for _ in range(8)]
    assert outputs[1::2] == [RESTARTING] * 3 + [
        "The service still fails its check after 3 restarts within the hour. "
        "Not restarting it again."
    ]
    hour_ago = int(time.time()) - 3601
    (tmp_path / "state" / "ended").write_text(f"{hour_ago}\n" * 3)
    assert [heal("false")[1] for _ in range(2)] == ["", RESTARTING]


def test_heal_disabled_restarts_nothing(heal, tmp_path):
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "off").touch()
    assert [heal("false") for _ in range(4)] == [(1, "")] * 4


def test_heal_hanging_check_ends_before_docker_timeout(heal):
    started = time.monotonic()
    assert heal("sleep", "20") == (1, "")
    assert 7.5 < time.monotonic() - started < 9.9


def test_heal_prints_output_of_check(heal):
    assert heal("echo", "PONG") == (0, "PONG")


@pytest.mark.parametrize("name", SERVICES_WITH_CHECK)
def test_compose_health_check_uses_heal(name):
    test = SERVICES[name]["healthcheck"]["test"]
    assert re.fullmatch(r"CMD sh /\S+/heal\.sh kill [3-6]", " ".join(test[:5]))
    volumes = [volume.split(":") for volume in SERVICES[name]["volumes"]]
    sources = [f"{source}{test[2].removeprefix(target)}" for source, target, *_ in volumes]
    assert HEAL in [ROOT / "orchestration" / source for source in sources]


def test_compose_worker_misses_outlast_grace_period():
    body = SERVICES["airflow-worker"]
    misses, interval = int(body["healthcheck"]["test"][4]), body["healthcheck"]["interval"]
    grace = int(body["stop_grace_period"].removesuffix("s"))
    assert (misses - 1) * int(interval.removesuffix("s")) > grace
