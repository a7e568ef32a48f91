"""An open page: what changes reaches it without reload, and it says when it is cut off."""

import pytest

from status.settings import Settings
from tests.page.example import Example
from tests.page.served import Served
from tests.page.visit import Visit
from tests.status.stubs import client

MARK = "window.mark = 'the same document'"
ALERT = "This page no longer reaches its server."


@pytest.fixture
def seen(served, visit):
    """A page that was opened while all was well."""
    served.watch(Example())
    seen = visit()
    seen.page.evaluate(MARK)
    return seen


def change(served, seen, headline="redis is down", **states):
    """Let a service fail, and wait until the open page says so."""
    served.watch(Example(**(states or {"redis": "down"})))
    seen.page.locator("h1").get_by_text(headline).wait_for()


def test_a_change_arrives_without_reload(served, seen):
    change(served, seen)
    assert seen.verdicts()["redis"] == "down"
    assert seen.page.locator("h1").get_attribute("class") == "down"
    assert seen.page.title().startswith("redis is down")
    change(served, seen, "All services are up", redis="up")
    assert seen.page.evaluate("window.mark") == "the same document"
    assert seen.ill_made() == []


def test_a_change_keeps_focus_selection_and_place(served, seen):
    seen.page.set_viewport_size({"width": 390, "height": 400})
    seen.card("Champion").get_by_role("link").focus()
    place = seen.page.evaluate("window.scrollY")
    seen.page.evaluate("getSelection().selectAllChildren(document.querySelector('caption'))")
    change(served, seen)
    assert seen.page.evaluate("document.activeElement.textContent") == "Champion"
    assert "Overall" in seen.page.evaluate("getSelection().toString()")
    # The headline may have become a line longer or shorter, and the row a command.
    assert place > 500
    assert abs(seen.page.evaluate("window.scrollY") - place) < 100


def test_only_a_change_is_read_out(served, seen):
    told = seen.page.get_by_role("status")
    told.evaluate("node => node.mark = 'the same element'")
    with seen.page.expect_response(seen.url):
        pass
    assert told.text_content() == ""
    change(served, seen)
    assert told.text_content() == "redis is down"
    assert told.evaluate("node => node.mark") == "the same element"


def test_a_server_that_goes_away_is_told_and_its_return_too(served, seen):
    seen.lost_allowed = True
    alert = seen.page.get_by_role("alert")
    assert alert.is_hidden()
    served.stop()
    alert.wait_for()
    assert ALERT in alert.inner_text()
    assert seen.page.title().startswith("Old")
    assert seen.ill_made() == []
    served.watch(Example(redis="down"))
    served.start()
    alert.wait_for(state="hidden")
    assert seen.headline() == "redis is down"
    assert seen.page.title().startswith("redis is down")
    assert seen.page.evaluate("window.mark") == "the same document"


@pytest.mark.parametrize(
    ("code", "body"),
    [(200, ""), (200, "<h1>Please log in</h1>"), (200, "<main>Welcome</main>"), (200, "{}")]
    + [(code, None) for code in (404, 500, 503)],
)
def test_another_page_or_an_error_in_its_place_is_no_answer_whatever_comes_with_it(
    seen, code, body
):
    seen.lost_allowed = code != 200
    told = seen.page.content() if body is None else body
    answer = {"status": code, "body": told, "content_type": "text/html"}
    seen.page.route(f"{seen.url}/", lambda route: route.fulfill(**answer))
    seen.page.get_by_role("alert").wait_for()
    assert "up" in seen.verdicts().values()
    assert seen.page.locator("h1").count() == 1


def test_a_server_that_hangs_is_asked_once_at_a_time_and_told(seen):
    asked = []
    seen.page.route(f"{seen.url}/", lambda route: asked.append(route))
    seen.page.get_by_role("alert").wait_for()
    # It gives up after 5 s, and may have asked again by now.
    assert len(asked) <= 2


def test_the_whole_server_shows_a_service_fail_and_recover(browser, web, broker, database):
    urls = {"AIRFLOW_URL": web.url, "MLFLOW_URL": web.url, "REDIS_URL": broker.url}
    every = {"DATABASE_URL": database.url, "STATUS_INTERVAL_SECONDS": "0.3"}
    with Served(Settings.load(urls | every)) as whole:
        seen = Visit(browser, whole.url)
        for clients, headline in [
            ([client("brpop", "b")], "All services are up"),
            ([client("get", "N")], "airflow-worker is down"),
            ([client("brpop", "b")], "All services are up"),
        ]:
            broker.clients = clients
            seen.page.locator("h1").get_by_text(headline).wait_for()
        seen.context.close()
    assert seen.faults == []
