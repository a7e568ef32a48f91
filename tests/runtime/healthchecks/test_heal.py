"""Test heal.sh in the mode `report`, in which it kills nothing."""

import os
import re
import shutil
import time

import pytest
import yaml

from tests.support.process import path_with_programs, run
from tests.support.repository import ROOT

HEAL = ROOT / "orchestration/config/stack_runtime/healthchecks/heal.sh"
SERVICES = yaml.safe_load((ROOT / "orchestration/docker-compose.yaml").read_text())["services"]
SERVICES_WITH_CHECK = [name for name, body in SERVICES.items() if "healthcheck" in body]
RESTARTING = "The service failed 2 checks in a row. Restarting it."


@pytest.fixture
def heal(tmp_path):
    """Run one health check, for which 2 misses are too many; return exit code and output."""

    def heal(*check):
        (tmp_path / "kills").mkdir(exist_ok=True)
        folders = {"HEAL_STATE": str(tmp_path / "state"), "HEAL_KILLS": str(tmp_path / "kills")}
        result = run("sh", HEAL, "report", "2", *check, env={"PATH": "/usr/bin:/bin", **folders})
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
    (tmp_path / "kills" / os.uname().nodename).write_text(f"{hour_ago}\n" * 3)
    assert [heal("false")[1] for _ in range(2)] == ["", RESTARTING]


def test_heal_limit_survives_restart_of_container(heal, tmp_path):
    for _ in range(3):
        assert [heal("false")[1] for _ in range(2)] == ["", RESTARTING]
        # A restart empties /tmp.
        shutil.rmtree(tmp_path / "state")
    assert heal("false") == (1, "")
    assert heal("false")[1].endswith("Not restarting it again.")


def test_heal_without_record_of_restarts_restarts_nothing(heal, tmp_path):
    (tmp_path / "kills" / os.uname().nodename).mkdir(parents=True)
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
    assert ["heal", "/run/heal"] in volumes


@pytest.mark.parametrize(("code", "expected"), [(0, 0), (1, 3), (2, 2), (3, 3)])
def test_compose_check_of_recovering_postgres_is_no_miss(tmp_path, code, expected):
    # pg_isready exits with 1 if PostgreSQL rejects sessions, and with 2 if it gives no answer.
    path = path_with_programs(tmp_path, client=f"exit {code}")
    (tmp_path / "client").rename(tmp_path / "pg_isready")
    command = [word.replace("$$", "$") for word in SERVICES["postgres"]["healthcheck"]["test"][5:]]
    assert run(*command, env={"PATH": path}).returncode == expected


def test_compose_worker_misses_outlast_grace_period():
    body = SERVICES["airflow-worker"]
    misses, interval = int(body["healthcheck"]["test"][4]), body["healthcheck"]["interval"]
    grace = int(body["stop_grace_period"].removesuffix("s"))
    assert (misses - 1) * int(interval.removesuffix("s")) > grace
