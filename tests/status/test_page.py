"""The page as text: complete without JavaScript, and deaf to hostile strings."""

import base64
import hashlib
import re
from datetime import UTC, datetime, timedelta

import pytest

from status import page, words
from status.board import Board, Shown
from status.metadata import CANARY, PIPELINES, Metadata, Run
from status.models import Models, Version
from status.probes import Round, service_names, work_names
from status.verdict import Verdict

HOSTILE = "<script>alert(1)</script>\"'&$status"
STATES = ["up", "degraded", "down", "unknown"]
BASES = {"Airflow": "http://a:1/", "MLflow": "http://m:2/"}


def board(*verdicts, since=None, work=(), history=(), **found):
    now = datetime.now(UTC)
    shown = [Shown(verdict, since or now, history) for verdict in verdicts]
    return Board(shown, now, Round([], list(work), **found))


def rendered(*verdicts, links=None, **kwargs):
    return page.render(board(*verdicts, **kwargs), links or {}, 10)


def without_scripts(html):
    return re.sub(r"<script>.*?</script>", "", html, flags=re.DOTALL)


def card(html, title):
    """The list item with this heading."""
    items = re.findall(r"<li .*?</li>", html, re.DOTALL)
    [found] = [item for item in items if re.search(rf"<h3>(<a [^>]*>)?{title}<", item)]
    return found


def test_every_service_and_state_is_there_without_javascript():
    services = service_names("redis://x")
    verdicts = [Verdict(name, STATES[i % 4], f"reason {i}") for i, name in enumerate(services)]
    html = without_scripts(rendered(*verdicts))
    for verdict in verdicts:
        row = re.search(rf'<tr class="{verdict.state}"><th scope="row">{verdict.name}<.*', html)[0]
        assert re.search(rf"</span> {verdict.state}</td>", row)
        assert verdict.detail in row
        command = f"<code>inv logs -s {verdict.name}</code>"
        assert (command in row) == (verdict.state != "up")
    assert '<noscript><meta http-equiv="refresh" content="10"></noscript>' in html


def test_every_work_and_state_is_there_without_javascript():
    states = [*STATES, "running", "none"]
    work = [Verdict(n, states[i % 6], f"reason {i}") for i, n in enumerate(work_names())]
    html = without_scripts(rendered(Verdict("mlflow", "up", "-"), work=work))
    for one in work:
        item = card(html, words.TITLES[one.name])
        assert item.startswith(f'<li class="{one.state}">')
        assert f"</span> {'well' if one.state == 'up' else one.state}</p>" in item
        assert one.detail in item


def test_every_service_has_a_role_and_every_work_a_title():
    assert words.ROLES.keys() == set(service_names("redis://x"))
    assert words.TITLES.keys() == {*work_names(), "patches"}
    assert words.NEXT.keys() <= page.TITLES.keys()


def test_what_went_wrong_tells_what_to_type_and_needs_a_look():
    work = [Verdict("canary", "down", "-"), Verdict("drift", "degraded", "-")]
    work += [Verdict("training", "running", "-"), Verdict("monitoring", "up", "-")]
    work += [Verdict("backup", "unknown", "-")]
    html = rendered(Verdict("mlflow", "up", "-"), work=work)
    assert words.NEXT["canary"] in card(html, "Canary")
    assert words.NEXT["drift"] in card(html, "Drift")
    assert not any("<code>" in card(html, title) for title in ("Training", "Monitoring", "Backup"))
    [attention] = re.findall(r'<p class="attention">(.*?)</p>', html)
    assert re.findall("Canary|Drift|Training|Monitoring|Backup", attention) == ["Canary", "Drift"]
    html = rendered(Verdict("mlflow", "up", "-"), work=work[2:])
    assert not re.findall(r'<p class="attention">', html)


def test_hostile_details_stay_text():
    html = rendered(
        Verdict("mlflow", "down", HOSTILE),
        links={HOSTILE: f'http://x/"onclick={HOSTILE}'},
        work=[Verdict("training", "down", HOSTILE), Verdict("drift", "up", "-")],
        metadata=Metadata(runs={PIPELINES["training"]: Run(HOSTILE, "failed", 9, 1)}),
        models=Models(drift={HOSTILE: 0.5}),
    )
    assert html.count("<script>") == 1
    assert "alert(1)</script>" not in html
    assert html.count("&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#x27;&amp;$status") >= 3
    assert '"onclick' not in html
    assert "%3Cscript%3E" in card(html, "Training")


def test_work_links_to_the_page_that_says_more():
    runs = {dag_id: Run(f"r+{dag_id}", "success", 9, 1) for dag_id in [*PIPELINES.values(), CANARY]}
    work = [Verdict(name, "up", "-") for name in work_names()]
    models = Models({"champion": Version("3", "run3", "", {})})
    html = rendered(work=work, links=BASES, metadata=Metadata(runs=runs), models=models)
    links = {n: re.findall('href="(.*?)"', card(html, words.TITLES[n])) for n in work_names()}
    assert links == {
        "canary": ["http://a:1/dags/canary/runs/r%2Bcanary"],
        "training": ["http://a:1/dags/training_pipeline/runs/r%2Btraining_pipeline"],
        "monitoring": ["http://a:1/dags/monitoring_pipeline/runs/r%2Bmonitoring_pipeline"],
        "dag-files": ["http://a:1/dags"],
        "champion": ["http://m:2/#/models/flight-delay/versions/3"],
        **{name: [] for name in ("challenger", "drift", "backup", "disk")},
    }


def test_drift_and_the_last_hour_are_drawn():
    models, work = Models(drift={"2013-05": 0.5}), [Verdict("drift", "up", "-")]
    mlflow = Verdict("mlflow", "up", "-")
    html = rendered(mlflow, work=work, models=models, history=("", "down", "up"))
    assert 'aria-label="drifted columns: 2013-05 50%' in card(html, "Drift")
    assert 'aria-label="last hour: down 1 min, up 1 min"' in html
    assert "<svg" not in rendered(mlflow, work=work, models=Models())


def test_the_policy_allows_exactly_the_style_and_script_of_the_page():
    work = [Verdict(name, "down", "-") for name in work_names()]
    models = Models(drift={"2013-05": 0.5})
    html = rendered(Verdict("mlflow", "up", "fine"), work=work, models=models, history=("up",))
    for tag in ("style", "script"):
        [text] = re.findall(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}';" in page.policy()
    assert not re.search(r' style="| on\w+="', html)
    assert "unsafe" not in page.policy()


def test_nothing_is_fetched_from_elsewhere():
    work = [Verdict(name, "down", "-") for name in work_names()]
    html = rendered(Verdict("mlflow", "down", "-"), work=work, models=Models(drift={"x": 1}))
    assert not re.findall(r"https?://|//[a-z]", re.sub(r"\n// .*", "", html))


def test_the_headline_names_what_is_wrong():
    degraded, down = Verdict("redis", "degraded", "-"), Verdict("mlflow", "down", "-")
    html = rendered(degraded, down, Verdict("postgres", "up", "-"))
    assert "<span>mlflow is down; redis is degraded</span>" in html
    assert "<title>mlflow is down" in html
    assert "<span>3 down, 1 degraded</span>" in rendered(
        degraded, down, down, down, Verdict("postgres", "up", "-")
    )
    unknown = Verdict("redis", "unknown", "-")
    html = rendered(degraded, unknown, down, Verdict("postgres", "up", "-"))
    assert "<span>mlflow is down; redis is unknown; redis is degraded</span>" in html
    html = rendered(unknown, down)
    assert "<span>Nothing is up</span>" in html
    assert "<span>All services are up</span>" in rendered(Verdict("mlflow", "up", "-"))
    assert "Everything is unknown" in rendered(Verdict("mlflow", "unknown", "-"))


def test_the_page_tells_when_it_was_checked():
    assert "Checked 0 s ago, " in rendered(Verdict("mlflow", "up", "-"))
    early = Board([], None, Round([], []))
    assert "The first round is under way." in page.render(early, {}, 10)


@pytest.mark.parametrize(
    ("seconds", "words"), [(5, "5 s"), (60, "1 min"), (7300, "2 h"), (200000, "2 d")]
)
def test_times_are_told_in_words(seconds, words):
    since = datetime.now(UTC) - timedelta(seconds=seconds)
    work = [Verdict("training", "up", "-", seen=since)]
    html = rendered(Verdict("mlflow", "up", "-"), since=since, work=work)
    assert f">for {words}</time>" in html
    assert f">{words} ago</time>" in card(html, "Training")


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
