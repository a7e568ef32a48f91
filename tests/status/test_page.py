"""The page as text: complete without JavaScript, and deaf to hostile strings."""

import base64
import hashlib
import re
from datetime import UTC, datetime, timedelta

import pytest

from status import page
from status.board import Board, Shown
from status.probes import names
from status.verdict import Verdict

HOSTILE = "<script>alert(1)</script>\"'&$status"
STATES = ["up", "degraded", "down", "unknown"]


def board(*verdicts, since=None):
    now = datetime.now(UTC)
    return Board([Shown(verdict, since or now) for verdict in verdicts], now)


def rendered(*verdicts, links=None, **kwargs):
    return page.render(board(*verdicts, **kwargs), links or {}, 10)


def without_scripts(html):
    return re.sub(r"<script>.*?</script>", "", html, flags=re.DOTALL)


def test_every_service_and_state_is_there_without_javascript():
    services = names("redis://x")
    verdicts = [Verdict(name, STATES[i % 4], f"reason {i}") for i, name in enumerate(services)]
    html = without_scripts(rendered(*verdicts))
    for verdict in verdicts:
        row = re.search(rf'<tr class="{verdict.state}"><th scope="row">{verdict.name}<.*', html)[0]
        assert re.search(rf"</span> {verdict.state}</td>", row)
        assert verdict.detail in row
    assert '<noscript><meta http-equiv="refresh" content="10"></noscript>' in html


def test_every_service_has_a_role():
    assert page.ROLES.keys() == set(names("redis://x"))


def test_hostile_details_stay_text():
    html = rendered(
        Verdict("mlflow", "down", HOSTILE), links={HOSTILE: f'http://x/"onclick={HOSTILE}'}
    )
    assert html.count("<script>") == 1
    assert "alert(1)</script>" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#x27;&amp;$status" in html
    assert '"onclick' not in html


def test_the_policy_allows_exactly_the_style_and_script_of_the_page():
    html = rendered(Verdict("mlflow", "up", "fine"))
    for tag in ("style", "script"):
        [text] = re.findall(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}';" in page.policy()
    assert not re.search(r' style="| on\w+="', html)
    assert "unsafe" not in page.policy()


def test_nothing_is_fetched_from_elsewhere():
    assert not re.findall(r"https?://|//[a-z]", re.sub(r"\n// .*", "", rendered()))


def test_the_headline_names_what_is_wrong():
    degraded, down = Verdict("redis", "degraded", "-"), Verdict("mlflow", "down", "-")
    html = rendered(degraded, down, Verdict("postgres", "up", "-"))
    assert "<span>mlflow is down; redis is degraded</span>" in html
    assert "<title>mlflow is down" in html
    assert "<span>3 down, 1 degraded</span>" in rendered(
        degraded, down, down, down, Verdict("postgres", "up", "-")
    )
    html = rendered(Verdict("redis", "unknown", "-"), Verdict("mlflow", "down", "-"))
    assert "<span>Nothing is up</span>" in html
    assert "Everything is up" in rendered(Verdict("mlflow", "up", "-"))
    assert "Everything is unknown" in rendered(Verdict("mlflow", "unknown", "-"))


@pytest.mark.parametrize(
    ("seconds", "words"), [(5, "5 s"), (60, "1 min"), (7300, "2 h"), (200000, "2 d")]
)
def test_since_is_told_in_words(seconds, words):
    since = datetime.now(UTC) - timedelta(seconds=seconds)
    assert f">for {words}</time>" in rendered(Verdict("mlflow", "up", "-"), since=since)


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("localhost:8081", "localhost"),
        ("192.0.2.7", "192.0.2.7"),
        ("my_host.example:80", "my_host.example"),
        ("[2001:db8::1]:8081", "[2001:db8::1]"),
    ],
)
def test_plain_hosts_are_taken(header, name):
    assert page.host_name(header) == name


@pytest.mark.parametrize(
    "header",
    ["", "a b", "x/../y", "user@host", 'x"y', "x<script>", "x:99:1", "x:", "x\n", "::1", "é", "x#"],
)
def test_odd_hosts_are_refused(header):
    assert page.host_name(header) is None
