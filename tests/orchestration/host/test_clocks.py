"""Clocks that are wrong or apart, and the package index that tells the time."""

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
    """A moment at which the clock stands; gives a function that sets it."""

    def stand(moment):
        monkeypatch.setattr(clocks, "now", lambda: moment)
        return moment

    stand(EARLIEST + timedelta(days=1))
    return stand


def test_a_clock_before_this_was_written_is_wrong(today):
    assert list(clocks.clock_problems(Host())) == []
    today(EARLIEST - timedelta(seconds=1))
    [problem] = clocks.clock_problems(Host())
    assert problem.cause == "This machine's clock shows 2026-10-31, a date in the past."
    assert problem.fix == "sudo timedatectl set-ntp true"


@pytest.mark.parametrize(
    ("ahead", "told"),
    [(None, ""), (29.0, ""), (-29.0, ""), (45.4, "45 s ahead of"), (-3600.0, "3600 s behind")],
)
def test_an_engine_whose_clock_is_apart_is_a_problem(today, ahead, told):
    problems = list(clocks.clock_problems(Host(ahead=ahead)))
    assert len(problems) == bool(told)
    assert all(f"The engine's clock is {told} this machine's" in one.cause for one in problems)


@pytest.mark.parametrize(
    ("ahead", "told"),
    [(None, ""), (299.0, ""), (-299.0, ""), (400.0, "400 s behind"), (-400.0, "400 s ahead of")],
)
def test_a_clock_that_the_world_disagrees_with_is_a_problem(today, ahead, told):
    host = Host(index="pypi.org", index_ahead=ahead)
    problems = list(clocks.clock_problems(host))
    assert len(problems) == bool(told)
    assert all(f"clock is {told} the clock of pypi.org" in one.cause for one in problems)


# The package index


@pytest.fixture
def index(monkeypatch):
    """An index of paper: its headers, or what is raised in their place; keeps what was asked."""
    import requests

    index = SimpleNamespace(headers={}, silence=None, asked=[], waits=None)

    def head(address, **options):
        index.asked.append((address, options))
        if index.waits:
            index.waits.wait(10)
        if index.silence:
            raise index.silence
        return SimpleNamespace(headers=index.headers)

    monkeypatch.setattr(requests, "head", head)
    return index


def test_the_index_tells_the_time(today, index, make_settings):
    later = clocks.now().replace(microsecond=0) + timedelta(seconds=90)
    index.headers = {"Date": format_datetime(later, usegmt=True), "Age": "30"}
    assert clocks.ask_index(make_settings()) == ("pypi.org", 120.0)
    [(address, options)] = index.asked
    assert address == "https://pypi.org/simple/"
    assert options["timeout"] == minimums.PATIENCE_SECONDS


def test_an_index_of_ones_own_is_asked_and_its_password_not_told(index, make_settings):
    address = "https://me:s3cret@mirror.example/simple"  # pragma: allowlist secret
    name, _ = clocks.ask_index(make_settings(PYPI_INDEX_URL=address))
    assert name == "mirror.example"
    assert index.asked[0][0] == address


def test_the_certificates_of_the_settings_are_trusted(index, make_settings, tmp_path):
    bundle = tmp_path / "bundle.crt"
    clocks.ask_index(make_settings(CA_BUNDLE=bundle))
    bundle.touch()
    clocks.ask_index(make_settings(CA_BUNDLE=bundle))
    assert [options["verify"] for _, options in index.asked] == [True, str(bundle)]


def test_a_folder_of_wheels_is_no_index_to_ask(index, make_settings):
    assert clocks.ask_index(make_settings(PYPI_INDEX_URL="file:///srv/simple")) == ("", None)
    assert index.asked == []


@pytest.mark.parametrize("headers", [{}, {"Date": "soon"}])
def test_an_index_without_a_date_has_answered(index, make_settings, headers):
    index.headers = headers
    assert clocks.ask_index(make_settings()) == ("pypi.org", 0.0)


def test_an_index_that_refuses_has_not_answered(index, make_settings):
    import requests

    index.silence = requests.ConnectionError("no route")
    assert clocks.ask_index(make_settings()) == ("pypi.org", None)


def test_nobody_waits_longer_for_an_index_than_the_patience(index, make_settings, monkeypatch):
    monkeypatch.setattr(reachability, "PATIENCE_SECONDS", 0.02)
    index.waits = threading.Event()
    assert clocks.ask_index(make_settings()) == ("pypi.org", None)
    index.waits.set()
