"""Test clock checks and reading the package index's clock."""

import threading
from datetime import timedelta
from email.utils import format_datetime
from types import SimpleNamespace

import pytest

from orchestration.host import clocks, minimums, reachability
from orchestration.host.minimums import EARLIEST
from orchestration.host.resources import Host


@pytest.fixture
def today(monkeypatch):
    """Stop the clock at a valid time and return a function that sets it."""

    def set_time(moment):
        monkeypatch.setattr(clocks, "now", lambda: moment)
        return moment

    set_time(EARLIEST + timedelta(days=1))
    return set_time


def test_clock_in_the_past_is_a_problem(today):
    assert list(clocks.clock_problems(Host())) == []
    today(EARLIEST - timedelta(seconds=1))
    [problem] = clocks.clock_problems(Host())
    assert problem.cause == "This machine's clock shows 2026-10-31, a date in the past."
    assert problem.fix == "sudo timedatectl set-ntp true"


@pytest.mark.parametrize(
    ("ahead", "offset"),
    [(None, ""), (29.0, ""), (-29.0, ""), (45.4, "45 s ahead of"), (-3600.0, "3600 s behind")],
)
def test_engine_clock_skew_is_a_problem(today, ahead, offset):
    problems = list(clocks.clock_problems(Host(clock_ahead=ahead)))
    assert len(problems) == bool(offset)
    assert all(f"The engine's clock is {offset} this machine's" in one.cause for one in problems)


@pytest.mark.parametrize(
    ("ahead", "offset"),
    [(None, ""), (299.0, ""), (-299.0, ""), (400.0, "400 s behind"), (-400.0, "400 s ahead of")],
)
def test_index_clock_skew_is_a_problem(today, ahead, offset):
    host = Host(index="pypi.org", index_ahead=ahead)
    problems = list(clocks.clock_problems(host))
    assert len(problems) == bool(offset)
    assert all(f"clock is {offset} the clock of pypi.org" in one.cause for one in problems)


# The package index


@pytest.fixture
def index(monkeypatch):
    """A fake index that returns `headers` or raises `error`, and records its requests."""
    import requests

    index = SimpleNamespace(headers={}, error=None, requests=[], waits=None)

    def head(address, **options):
        index.requests.append((address, options))
        if index.waits:
            index.waits.wait(10)
        if index.error:
            raise index.error
        return SimpleNamespace(headers=index.headers)

    monkeypatch.setattr(requests, "head", head)
    return index


def test_read_index_clock_uses_date_and_age(today, index, make_settings):
    later = clocks.now().replace(microsecond=0) + timedelta(seconds=90)
    index.headers = {"Date": format_datetime(later, usegmt=True), "Age": "30"}
    assert clocks.read_index_clock(make_settings()) == ("pypi.org", 120.0)
    [(address, options)] = index.requests
    assert address == "https://pypi.org/simple/"
    assert options["timeout"] == minimums.PATIENCE_SECONDS


def test_read_index_clock_own_index_returns_host_without_password(index, make_settings):
    address = "https://me:s3cret@mirror.example/simple"  # pragma: allowlist secret
    name, _ = clocks.read_index_clock(make_settings(PYPI_INDEX_URL=address))
    assert name == "mirror.example"
    assert index.requests[0][0] == address


def test_read_index_clock_trusts_ca_bundle_if_it_exists(index, make_settings, tmp_path):
    bundle = tmp_path / "bundle.crt"
    clocks.read_index_clock(make_settings(CA_BUNDLE=bundle))
    bundle.touch()
    clocks.read_index_clock(make_settings(CA_BUNDLE=bundle))
    assert [options["verify"] for _, options in index.requests] == [True, str(bundle)]


def test_read_index_clock_local_folder_makes_no_request(index, make_settings):
    assert clocks.read_index_clock(make_settings(PYPI_INDEX_URL="file:///srv/simple")) == ("", None)
    assert index.requests == []


@pytest.mark.parametrize("headers", [{}, {"Date": "soon"}])
def test_read_index_clock_without_valid_date_returns_zero(index, make_settings, headers):
    index.headers = headers
    assert clocks.read_index_clock(make_settings()) == ("pypi.org", 0.0)


def test_read_index_clock_connection_error_returns_none(index, make_settings):
    import requests

    index.error = requests.ConnectionError("no route")
    assert clocks.read_index_clock(make_settings()) == ("pypi.org", None)


def test_read_index_clock_slow_index_returns_none_in_time(index, make_settings, monkeypatch):
    monkeypatch.setattr(reachability, "PATIENCE_SECONDS", 0.02)
    index.waits = threading.Event()
    assert clocks.read_index_clock(make_settings()) == ("pypi.org", None)
    index.waits.set()
