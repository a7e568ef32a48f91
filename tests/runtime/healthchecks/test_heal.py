"""A health check that counts its misses: heal.sh, which here only tells what it would end."""

import re
import time

import pytest
import yaml

from tests.support.process import run
from tests.support.repository import ROOT

HEAL = ROOT / "orchestration/config/stack_runtime/healthchecks/heal.sh"
SERVICES = yaml.safe_load((ROOT / "orchestration/docker-compose.yaml").read_text())["services"]
CHECKED = [name for name, body in SERVICES.items() if "healthcheck" in body]
ENDING = "alive but useless at 2 checks in a row: ending it"


@pytest.fixture
def heal(tmp_path):
    """One health check with 2 misses; its exit code and what it said."""

    def heal(*check):
        state = {"PATH": "/usr/bin:/bin", "HEAL_STATE": str(tmp_path / "state")}
        done = run("sh", HEAL, "tell", "2", *check, env=state)
        return done.returncode, done.stdout.removeprefix("heal: ").strip()

    return heal


def test_two_misses_in_a_row_end_a_service_and_one_does_not(heal):
    assert [heal("false") for _ in range(4)] == [(1, ""), (1, ENDING)] * 2


def test_what_is_well_again_in_between_is_not_ended(heal):
    checks = ["false", "true", "false", "true"]
    assert [heal(check) for check in checks] == [(1, ""), (0, "")] * 2


def test_want_of_another_service_is_not_well_and_no_miss(heal):
    wants = ("sh", "-c", "exit 3")
    assert [heal("false"), heal(*wants), heal("false"), heal(*wants)] == [(1, "")] * 4


def test_after_three_times_within_the_hour_it_is_left_to_a_person(heal, tmp_path):
    said = [heal("false")[1] for _ in range(8)]
    assert said[1::2] == [ENDING] * 3 + [
        "useless again, ended 3 times within the hour: left as it is"
    ]
    hour_ago = int(time.time()) - 3601
    (tmp_path / "state" / "ended").write_text(f"{hour_ago}\n" * 3)
    assert [heal("false")[1] for _ in range(2)] == ["", ENDING]


def test_what_is_switched_off_is_not_well_and_not_ended(heal, tmp_path):
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "off").touch()
    assert [heal("false") for _ in range(4)] == [(1, "")] * 4


def test_a_check_that_hangs_is_cut_before_docker_would(heal):
    started = time.monotonic()
    assert heal("sleep", "20") == (1, "")
    assert 7.5 < time.monotonic() - started < 9.9


def test_what_the_check_says_is_kept(heal):
    assert heal("echo", "PONG") == (0, "PONG")


@pytest.mark.parametrize("name", CHECKED)
def test_each_service_ends_itself_by_its_check(name):
    test = SERVICES[name]["healthcheck"]["test"]
    assert re.fullmatch(r"CMD sh /\S+/heal\.sh kill [3-6]", " ".join(test[:5]))
    mounted = [volume.split(":") for volume in SERVICES[name]["volumes"]]
    sources = [f"{source}{test[2].removeprefix(to)}" for source, to, *_ in mounted]
    assert HEAL in [ROOT / "orchestration" / source for source in sources]


def test_a_worker_that_ends_its_tasks_first_is_not_ended_meanwhile():
    body = SERVICES["airflow-worker"]
    misses, interval = int(body["healthcheck"]["test"][4]), body["healthcheck"]["interval"]
    grace = int(body["stop_grace_period"].removesuffix("s"))
    assert (misses - 1) * int(interval.removesuffix("s")) > grace
