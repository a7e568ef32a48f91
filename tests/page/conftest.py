"""Fixtures: one browser for all tests of a process, a stub stack and visits for each."""

import shutil

import pytest
from playwright.sync_api import sync_playwright

from tests.page.served import Served
from tests.page.stack import Stack
from tests.page.visit import Visit
from tests.status.conftest import broker, database, nobody, web

__all__ = ["broker", "database", "nobody", "web"]


def pytest_addoption(parser):
    parser.addoption("--keep", metavar="FOLDER", help="where pictures of an example board are kept")


@pytest.fixture(scope="session")
def browser():
    """Debian's chromium, without a window."""
    path = shutil.which("chromium")
    assert path, "no chromium is found"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def stack(web, broker):
    """All services, well."""
    return Stack(web, broker)


@pytest.fixture
def served():
    """The status server before its first round."""
    with Served() as served:
        yield served


@pytest.fixture
def visit(browser, served):
    """Opens the served page in a way; after the test, whatever a visitor met is told."""
    visits = []

    def opened(**how):
        visits.append(Visit(browser, served.url, **how))
        return visits[-1]

    yield opened
    for each in visits:
        each.context.close()
    assert [fault for each in visits for fault in each.faults] == []
