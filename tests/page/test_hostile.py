"""Hostile file names, errors, run ids, versions and months are shown as text."""

import asyncpg
import pytest

from tests.status.databases import run
from tests.status.stubs import HEALTH, SEARCH

# Control characters that reverse the text direction. The second one is never closed, so it would
# also affect the text that follows.
BIDI_CONTROLS = "\u202e\u2066\u200f"
REVERSED = "\u202egpj.exe\u2066\u200f"
TEXTS = {
    "script": "</bdi></title></script><script>alert(1)</script>",
    "attribute": "\"'><img src=x onerror=alert(1)> onfocus='alert(1)",
    "link": "javascript:alert(1)//%0a<a href=//evil.example>",
    "template": "$status ${rows} $$ {{7*7}} &lt;&amp;&#x3c;",
    "reversed": REVERSED,
    "long": "x" * 10_000,
    "long-words": "wide words " * 1000,
    "symbols": "\x01\x7f\ufeff\u2028 Zalgo Z̸̡̛͖a̶l̵g̷o̴ 🙈\n\t\r end",
}


ACTIVE = "script, img, iframe, bdi *"
ADDRESSES = "nodes => nodes.map(link => [link.origin, link.pathname])"
HEIGHTS = "nodes => nodes.map(one => one.offsetHeight)"
POSITIONS = """code => [...code.textContent].map((_, index) => {
  const letter = document.createRange();
  letter.setStart(code.firstChild, index);
  letter.setEnd(code.firstChild, index + 1);
  return letter.getBoundingClientRect().left;
})"""


@pytest.fixture(params=TEXTS)
def hostile_text(request, stack, served):
    """One of the texts, in all values that come from users."""
    text = TEXTS[request.param]
    stack.database |= {
        "broken": [{"filename": text, "reason": text}],
        "broken_files": 1,
        "hops": {text: 1.0, "run": 0.1},
        "runs": [
            run("canary", state=text, started=9, ended=5, run_id=text),
            run("training_pipeline", state="failed", started=9, ended=5, run_id=text),
            run("monitoring_pipeline") | {"state": text, "run_id": text},
        ],
        "bytes": {text: 5},
    }
    stack.add_version("champion", text, text, **{text: 0.5, "auc": 0.7})
    stack.set_drift({"2013-01": 0.5, text: 0.1})
    served.show(stack.round())
    return text


def test_page_shows_hostile_text_as_text(hostile_text, visit):
    seen = visit()
    files = seen.card("DAG files")
    assert "1 import error" in files.inner_text()
    expected = hostile_text[:40].translate(dict.fromkeys(map(ord, BIDI_CONTROLS), "\ufffd"))
    assert " ".join(expected.split()) in " ".join(files.text_content().split())
    assert seen.page.locator(ACTIVE).count() == 1
    check_links(seen)
    # Again after an update by the script.
    with seen.page.expect_response(f"{seen.url}/"):
        pass
    assert seen.page.locator(ACTIVE).count() == 1
    assert seen.defects() == []
    # On a phone, no card is very high.
    assert max(seen.page.locator("#work li").evaluate_all(HEIGHTS)) < 1000


def check_links(seen):
    links = seen.page.locator("a").evaluate_all(ADDRESSES)
    airflow, mlflow = "http://127.0.0.1:8080", "http://127.0.0.1:5000"
    assert {origin for origin, _ in links} == {seen.url, airflow, mlflow}
    # A run id is one segment of the path, whatever characters it contains.
    assert {path.count("/") for _, path in links if "/runs/" in path} == {4}


def test_page_contains_reversed_text(stack, served, visit):
    stack.database = asyncpg.PostgresError(REVERSED)
    served.show(stack.round())
    seen = visit()
    command = seen.page.get_by_text("inv logs -s postgres")
    positions = command.evaluate(POSITIONS)
    assert positions == sorted(positions)
    # The command is still to the right of the text.
    detail = seen.page.locator("tr.down td.detail").bounding_box()
    assert command.bounding_box()["x"] > detail["x"] + 20
    assert seen.page.locator("tr.down td.state").bounding_box()["x"] < detail["x"]


@pytest.mark.parametrize("answer", [{}, {"error": TEXTS["script"]}])
def test_page_with_other_programs_on_the_ports_shows_no_service_as_up(stack, served, visit, answer):
    stack.web.answers |= {HEALTH: (200, answer), SEARCH: (200, answer)}
    stack.database = asyncpg.PostgresError(TEXTS["long"])
    served.show(stack.round())
    seen = visit(size="phone")
    assert seen.verdicts()["airflow-apiserver"] == "unknown"
    assert seen.verdicts()["postgres"] == "down"
    assert seen.overflow() <= 0
