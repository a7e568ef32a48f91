"""Fixtures: one browser per test process; a stub stack, a server and visits per test."""

import shutil

import pytest
from playwright.sync_api import sync_playwright

from tests.page.served import Served
from tests.page.stack import Stack
from tests.page.visit import Visit
from tests.status.conftest import broker, database, dead_address, web

__all__ = ["broker", "database", "dead_address", "web"]


def pytest_addoption(parser):
    parser.addoption(
        "--keep", metavar="FOLDER", help="save pictures of an example board in this folder"
    )


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium from Debian."""
    path = shutil.which("chromium")
    assert path, "Chromium is not installed."
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def stack(web, broker):
    """A stub stack in which all services are healthy."""
    return Stack(web, broker)


@pytest.fixture
def served():
    """A status server before its first round."""
    with Served() as served:
        yield served


@pytest.fixture
def visit(browser, served):
    """Open the served page with these options; fail if a visit had errors."""
    visits = []

    def open_page(**options):
        visits.append(Visit(browser, served.url, **options))
        return visits[-1]

    yield open_page
    for each in visits:
        each.context.close()
    assert [error for each in visits for error in each.errors] == []
