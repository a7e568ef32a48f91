"""The services' Python without containers: found, offered somewhere, or told as missing."""

from pathlib import Path

import pytest

from orchestration.dependencies import python as python_version
from orchestration.engines.standalone import virtualenvs
from orchestration.engines.standalone.virtualenvs import Environments, python_problem
from orchestration.errors import StackError
from orchestration.process import runner

OFFER = "cpython-3.11.18-linux-x86_64-gnu    https://builds.example/3.11.18.tar.gz\n"
FIND = "uv python find 3.11"
LIST = "uv python list --only-downloads --show-urls cpython-3.11"


@pytest.fixture
def answering(monkeypatch):
    """The addresses that answer; what was asked stands in `asked`."""

    class Addresses(set):
        asked = ()

    addresses = Addresses()

    def headers_of(address, bundle):
        addresses.asked = {*addresses.asked, (address, bundle)}
        return {} if address in addresses else None

    monkeypatch.setattr(python_version, "headers_of", headers_of)
    return addresses


@pytest.fixture
def absent(recorded):
    """A machine without that Python, whose uv knows where one is."""
    recorded.failures = {"uv python find": "none"}
    recorded.outputs = {"uv python list": OFFER}
    return recorded


def test_a_python_that_is_here_is_found_and_nobody_is_asked(make_settings, recorded, answering):
    assert python_problem(make_settings()) == []
    assert recorded.lines == [FIND]
    assert answering.asked == ()


@pytest.mark.parametrize("place", ["https://builds.example/3.11.18.tar.gz", python_version.BUILDS])
def test_one_place_that_answers_is_enough(make_settings, absent, answering, place):
    answering.add(place)
    assert python_problem(make_settings(CA_BUNDLE="/my.crt")) == []
    assert (place, "/my.crt") in answering.asked


def test_looking_fetches_nothing(make_settings, absent, answering):
    python_problem(make_settings())
    assert absent.lines == [FIND, LIST]
    assert {command.env["UV_SYSTEM_CERTS"] for command in absent.commands} == {"1"}


def test_a_mirror_in_a_folder_is_not_asked(make_settings, absent, answering):
    absent.outputs = {"uv python list": "cpython-3.11.18 file:///srv/3.11.18.tar.gz\n"}
    assert python_problem(make_settings()) == []
    assert "file:///srv/3.11.18.tar.gz" not in {address for address, _ in answering.asked}


def test_without_a_python_the_next_command_is_told(make_settings, absent, answering):
    [problem] = python_problem(make_settings())
    assert "need Python 3.11" in problem.cause
    assert "sudo apt-get install python3.11" in problem.fix


def test_a_uv_that_does_not_answer_offers_nothing(make_settings, recorded, answering):
    recorded.failures = {"uv python": "no answer within 5 s"}
    answering.add(python_version.BUILDS)
    assert python_problem(make_settings()) == [python_version.MISSING]


def test_asking_for_a_python_does_not_last_for_ever(make_settings, answering, monkeypatch):
    limits = []

    def ask(command, *, timeout=None):
        limits.append(timeout)
        if "find" in command.argv:
            raise StackError("no answer")
        return runner.Completed(0, OFFER)

    monkeypatch.setattr(virtualenvs.runner, "run", ask)
    python_problem(make_settings())
    assert limits == [python_version.UV_SECONDS] * 2


def test_a_python_that_uv_could_not_fetch_is_told_with_its_words(make_settings, absent):
    absent.failures["uv venv"] = "downloads are set to 'never'"
    with pytest.raises(StackError) as refused:
        Environments(make_settings())._empty(Path("/absent"))
    assert str(refused.value) == f"{python_version.MISSING}\ndownloads are set to 'never'"


def test_another_fault_of_uv_is_not_taken_for_a_missing_python(make_settings, recorded):
    recorded.failures = {"uv venv": "no space left"}
    with pytest.raises(StackError, match=r"^no space left$"):
        Environments(make_settings())._empty(Path("/absent"))
