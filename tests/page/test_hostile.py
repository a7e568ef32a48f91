"""Texts that others choose: file names, errors, run ids, versions and months stay text."""

import asyncpg
import pytest

from tests.status.databases import run
from tests.status.stubs import HEALTH, SEARCH

# Turns what follows around, and would turn the page's own words too: the second is never closed.
TURNING = "\u202e\u2066\u200f"
TURNED = "\u202egpj.exe\u2066\u200f"
TEXTS = {
    "script": "</bdi></title></script><script>alert(1)</script>",
    "attribute": "\"'><img src=x onerror=alert(1)> onfocus='alert(1)",
    "link": "javascript:alert(1)//%0a<a href=//evil.example>",
    "template": "$status ${rows} $$ {{7*7}} &lt;&amp;&#x3c;",
    "turned": TURNED,
    "long": "x" * 10_000,
    "long-words": "wide words " * 1000,
    "signs": "\x01\x7f\ufeff\u2028 Zalgo Z̸̡̛͖a̶l̵g̷o̴ 🙈\n\t\r end",
}


ACTIVE = "script, img, iframe, bdi *"
ADDRESSES = "them => them.map(link => [link.origin, link.pathname])"
HEIGHTS = "them => them.map(one => one.offsetHeight)"
PLACES = """code => [...code.textContent].map((_, place) => {
  const letter = document.createRange();
  letter.setStart(code.firstChild, place);
  letter.setEnd(code.firstChild, place + 1);
  return letter.getBoundingClientRect().left;
})"""


@pytest.fixture(params=TEXTS)
def said(request, stack, served):
    """One of the texts, in every place that others fill."""
    text = TEXTS[request.param]
    stack.database |= {
        "broken": [{"filename": text, "reason": text}],
        "broken_files": 1,
        "hops": {text: 1.0, "run": 0.1},
        "runs": [
            run("canary", state=text, begun=9, ended=5, run_id=text),
            run("training_pipeline", state="failed", begun=9, ended=5, run_id=text),
            run("monitoring_pipeline") | {"state": text, "run_id": text},
        ],
        "bytes": {text: 5},
    }
    stack.hold("champion", text, text, **{text: 0.5, "auc": 0.7})
    stack.drift({"2013-01": 0.5, text: 0.1})
    served.show(stack.round())
    return text


def test_hostile_texts_are_shown_and_do_nothing(said, visit):
    seen = visit()
    files = seen.card("DAG files")
    assert "1 does not import" in files.inner_text()
    shown = said[:40].translate(dict.fromkeys(map(ord, TURNING), "\ufffd"))
    assert " ".join(shown.split()) in " ".join(files.text_content().split())
    assert seen.page.locator(ACTIVE).count() == 1
    links_lead_to_the_neighbours(seen)
    # Once more as it is renewed, by the way of the script.
    with seen.page.expect_response(f"{seen.url}/"):
        pass
    assert seen.page.locator(ACTIVE).count() == 1
    assert seen.ill_made() == []
    # On a phone now: each leaves room for the others.
    assert max(seen.page.locator("#work li").evaluate_all(HEIGHTS)) < 1000


def links_lead_to_the_neighbours(seen):
    links = seen.page.locator("a").evaluate_all(ADDRESSES)
    neighbours = {"http://127.0.0.1:8080", "http://127.0.0.1:5000"}
    assert {origin for origin, _ in links} == {seen.url, *neighbours}
    # A run's id is one part of the path, whatever is in it.
    assert {path.count("/") for _, path in links if "/runs/" in path} == {4}


def test_a_text_that_is_turned_around_turns_nothing_else(stack, served, visit):
    stack.database = asyncpg.PostgresError(TURNED)
    served.show(stack.round())
    seen = visit()
    command = seen.page.get_by_text("inv logs -s postgres")
    places = command.evaluate(PLACES)
    assert places == sorted(places)
    # Still behind the text.
    detail = seen.page.locator("tr.down td.detail").bounding_box()
    assert command.bounding_box()["x"] > detail["x"] + 20
    assert seen.page.locator("tr.down td.state").bounding_box()["x"] < detail["x"]


@pytest.mark.parametrize("answer", [{}, {"error": TEXTS["script"]}])
def test_strangers_on_the_ports_are_no_services(stack, served, visit, answer):
    stack.web.answers |= {HEALTH: (200, answer), SEARCH: (200, answer)}
    stack.database = asyncpg.PostgresError(TEXTS["long"])
    served.show(stack.round())
    seen = visit(size="phone")
    assert seen.verdicts()["airflow-apiserver"] == "unknown"
    assert seen.verdicts()["postgres"] == "down"
    assert seen.overflow() <= 0
