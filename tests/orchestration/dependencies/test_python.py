"""Test finding the Python of standalone services, or a download of it."""

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
def reachable(monkeypatch):
    """Return the set of addresses that answer; `requests` records address and bundle of each."""

    class Addresses(set):
        requests = ()

    addresses = Addresses()

    def fetch_headers(address, bundle):
        addresses.requests = {*addresses.requests, (address, bundle)}
        return {} if address in addresses else None

    monkeypatch.setattr(python_version, "fetch_headers", fetch_headers)
    return addresses


@pytest.fixture
def absent(recorded):
    """A machine without the required Python, on which uv knows a download."""
    recorded.failures = {"uv python find": "none"}
    recorded.outputs = {"uv python list": OFFER}
    return recorded


def test_installed_python_is_found_without_requests(make_settings, recorded, reachable):
    assert python_problem(make_settings()) == []
    assert recorded.lines == [FIND]
    assert reachable.requests == ()


@pytest.mark.parametrize(
    "address", ["https://builds.example/3.11.18.tar.gz", python_version.BUILDS]
)
def test_download_is_available_if_one_address_answers(make_settings, absent, reachable, address):
    reachable.add(address)
    assert python_problem(make_settings(CA_BUNDLE="/my.crt")) == []
    assert (address, "/my.crt") in reachable.requests


def test_check_downloads_nothing(make_settings, absent, reachable):
    python_problem(make_settings())
    assert absent.lines == [FIND, LIST]
    assert {command.env["UV_SYSTEM_CERTS"] for command in absent.commands} == {"1"}


def test_local_mirror_is_not_requested(make_settings, absent, reachable):
    absent.outputs = {"uv python list": "cpython-3.11.18 file:///srv/3.11.18.tar.gz\n"}
    assert python_problem(make_settings()) == []
    assert "file:///srv/3.11.18.tar.gz" not in {address for address, _ in reachable.requests}


def test_missing_python_is_reported_with_install_command(make_settings, absent, reachable):
    [problem] = python_problem(make_settings())
    assert "need Python 3.11" in problem.cause
    assert "sudo apt-get install python3.11" in problem.fix


def test_uv_timeout_counts_as_missing_python(make_settings, recorded, reachable):
    recorded.failures = {"uv python": "Timed out after 5 s: uv python"}
    reachable.add(python_version.BUILDS)
    assert python_problem(make_settings()) == [python_version.MISSING]


def test_uv_calls_have_a_timeout(make_settings, reachable, monkeypatch):
    limits = []

    def run(command, *, timeout=None):
        limits.append(timeout)
        if "find" in command.argv:
            raise StackError("Timed out after 5 s.")
        return runner.Completed(0, OFFER)

    monkeypatch.setattr(virtualenvs.runner, "run", run)
    python_problem(make_settings())
    assert limits == [python_version.UV_SECONDS] * 2


def test_failed_download_is_reported_with_message_of_uv(make_settings, absent):
    absent.failures["uv venv"] = "downloads are set to 'never'"
    with pytest.raises(StackError) as refused:
        Environments(make_settings())._create_venv(Path("/absent"))
    assert str(refused.value) == f"{python_version.MISSING}\ndownloads are set to 'never'"


def test_other_uv_error_is_not_reported_as_missing_python(make_settings, recorded):
    recorded.failures = {"uv venv": "no space left"}
    with pytest.raises(StackError, match=r"^no space left$"):
        Environments(make_settings())._create_venv(Path("/absent"))
