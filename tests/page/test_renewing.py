"""Updates of an open page: changes appear without reload, and a lost connection is shown."""

import pytest

from status.settings import Settings
from tests.page.example import Example
from tests.page.served import Served
from tests.page.visit import Visit
from tests.status.stubs import client

MARK = "window.mark = 'the same document'"
ALERT = "Connection to the status server lost."


@pytest.fixture
def seen(served, visit):
    """A page that was opened while all services were up."""
    served.use(Example())
    seen = visit()
    seen.page.evaluate(MARK)
    return seen


def change(served, seen, headline="redis is down", **states):
    """Change the state of a service, and wait until the open page shows it."""
    served.use(Example(**(states or {"redis": "down"})))
    seen.page.locator("h1").get_by_text(headline).wait_for()


def test_update_shows_a_change_without_reload(served, seen):
    change(served, seen)
    assert seen.verdicts()["redis"] == "down"
    assert seen.page.locator("h1").get_attribute("class") == "down"
    assert seen.page.title().startswith("redis is down")
    change(served, seen, "All services are up", redis="up")
    assert seen.page.evaluate("window.mark") == "the same document"
    assert seen.defects() == []


def test_update_keeps_focus_selection_and_scroll_position(served, seen):
    seen.page.set_viewport_size({"width": 390, "height": 400})
    seen.card("Champion flight-delay").get_by_role("link").focus()
    position = seen.page.evaluate("window.scrollY")
    seen.page.evaluate("getSelection().selectAllChildren(document.querySelector('caption'))")
    change(served, seen)
    assert seen.page.evaluate("document.activeElement.textContent") == "Champion flight-delay"
    assert "Overall" in seen.page.evaluate("getSelection().toString()")
    # The height of the headline may change by a line, and a row may show a command.
    assert position > 500
    assert abs(seen.page.evaluate("window.scrollY") - position) < 100


def test_update_announces_only_changes(served, seen):
    announcement = seen.page.get_by_role("status")
    announcement.evaluate("node => node.mark = 'the same element'")
    with seen.page.expect_response(seen.url):
        pass
    assert announcement.text_content() == ""
    change(served, seen)
    assert announcement.text_content() == "redis is down"
    assert announcement.evaluate("node => node.mark") == "the same element"


def test_update_shows_a_lost_connection_and_its_return(served, seen):
    seen.errors_allowed = True
    alert = seen.page.get_by_role("alert")
    assert alert.is_hidden()
    served.stop()
    alert.wait_for()
    assert ALERT in alert.inner_text()
    assert seen.page.title().startswith("Disconnected")
    assert seen.defects() == []
    served.use(Example(redis="down"))
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
def test_update_ignores_other_pages_and_errors(seen, code, body):
    seen.errors_allowed = code != 200
    content = seen.page.content() if body is None else body
    response = {"status": code, "body": content, "content_type": "text/html"}
    seen.page.route(f"{seen.url}/", lambda route: route.fulfill(**response))
    seen.page.get_by_role("alert").wait_for()
    assert "up" in seen.verdicts().values()
    assert seen.page.locator("h1").count() == 1


def test_update_of_a_hanging_server_sends_one_request_at_a_time(seen):
    requests = []
    seen.page.route(f"{seen.url}/", lambda route: requests.append(route))
    seen.page.get_by_role("alert").wait_for()
    # The first request ends after 5 s, and a second one may have been sent.
    assert len(requests) <= 2


def test_page_shows_a_service_that_fails_and_recovers(browser, web, broker, database):
    urls = {"AIRFLOW_URL": web.url, "MLFLOW_URL": web.url, "REDIS_URL": broker.url}
    others = {"DATABASE_URL": database.url, "STATUS_INTERVAL_SECONDS": "0.3"}
    with Served(Settings.load(urls | others)) as served:
        seen = Visit(browser, served.url)
        for clients, headline in [
            ([client("brpop", "b")], "All services are up"),
            ([client("get", "N")], "airflow-worker is down"),
            ([client("brpop", "b")], "All services are up"),
        ]:
            broker.clients = clients
            seen.page.locator("h1").get_by_text(headline).wait_for()
        seen.context.close()
    assert seen.errors == []
