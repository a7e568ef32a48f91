"""The HTML of the page: complete without JavaScript, and safe against hostile strings."""

import base64
import hashlib
import re
from datetime import UTC, datetime, timedelta

import pytest

from status import labels, page
from status.board import Board, ServiceStatus
from status.metadata import CANARY, Metadata, Run
from status.models import Models, Version
from status.probes import Round, service_names
from status.verdict import Verdict

HOSTILE = "<script>alert(1)</script>\"'&$status"
STATES = ["up", "degraded", "down", "unknown"]
DAG_IDS = {"training": "training_pipeline", "monitoring": "monitoring_pipeline"}
PROBLEMS = {"flight-delay": DAG_IDS}
WORK = [CANARY, *DAG_IDS, "dag-files", "champion", "challenger", "drift", "backup", "disk"]
BASES = {"Airflow": "http://a:1/", "MLflow": "http://m:2/"}


def board(*verdicts, since=None, work=(), history=(), **figures):
    now = datetime.now(UTC)
    services = [ServiceStatus(verdict, since or now, history) for verdict in verdicts]
    return Board(services, now, Round([], list(work), **figures))


def render(*verdicts, links=None, **kwargs):
    return page.render(board(*verdicts, **kwargs), links or {}, 10)


def without_scripts(html):
    return re.sub(r"<script>.*?</script>", "", html, flags=re.DOTALL)


def card(html, title):
    """Return the list item with this heading."""
    items = re.findall(r"<li .*?</li>", html, re.DOTALL)
    [match] = [item for item in items if re.search(rf"<h3>(<a [^>]*>)?{title}<", item)]
    return match


def test_page_shows_every_service_and_state_without_javascript():
    services = service_names("redis://x")
    verdicts = [Verdict(name, STATES[i % 4], f"reason {i}") for i, name in enumerate(services)]
    html = without_scripts(render(*verdicts))
    for verdict in verdicts:
        row = re.search(rf'<tr class="{verdict.state}"><th scope="row">{verdict.name}<.*', html)[0]
        assert re.search(rf"</span> {verdict.state}</td>", row)
        assert verdict.detail in row
        command = f"<code>inv logs -s {verdict.name}</code>"
        assert (command in row) == (verdict.state != "up")
    assert '<noscript><meta http-equiv="refresh" content="10"></noscript>' in html


def test_page_shows_every_result_and_state_without_javascript():
    states = [*STATES, "running", "none"]
    work = [Verdict(n, states[i % 6], f"reason {i}") for i, n in enumerate(WORK)]
    html = without_scripts(render(Verdict("mlflow", "up", "-"), work=work))
    for one in work:
        item = card(html, labels.TITLES[one.name])
        assert item.startswith(f'<li class="{one.state}">')
        assert f"</span> {'ok' if one.state == 'up' else one.state}</p>" in item
        assert one.detail in item


def test_labels_cover_all_services_and_results():
    rare = {"silent-tasks", "waiting-tasks", "queues", "triggers", "patches"}
    assert labels.ROLES.keys() == set(service_names("redis://x"))
    assert labels.TITLES.keys() == {*WORK, *rare}
    assert {*labels.COMMANDS, *labels.PIPELINE_OF} <= labels.TITLES.keys()


def test_page_lists_bad_results_with_their_commands():
    work = [Verdict("canary", "down", "-"), Verdict("drift", "degraded", "-")]
    work += [Verdict("training", "running", "-"), Verdict("monitoring", "up", "-")]
    work += [Verdict("backup", "unknown", "-")]
    html = render(Verdict("mlflow", "up", "-"), work=work, metadata=Metadata(problems=PROBLEMS))
    assert labels.COMMANDS["canary"] in card(html, "Canary")
    assert "inv trigger training_pipeline --wait" in card(html, "Drift")
    assert not any("<code>" in card(html, title) for title in ("Training", "Monitoring", "Backup"))
    [attention] = re.findall(r'<p class="attention">(.*?)</p>', html)
    assert re.findall("Canary|Drift|Training|Monitoring|Backup", attention) == ["Canary", "Drift"]
    html = render(Verdict("mlflow", "up", "-"), work=work[2:])
    assert not re.findall(r'<p class="attention">', html)


def test_page_names_the_problem_of_each_result_if_there_are_several():
    work = [Verdict("drift bikes", "degraded", "-"), Verdict("training flight-delay", "down", "-")]
    models = {"bikes": Models(drift={"2024-05": 0.5}, limit=0.3), "flight-delay": Models()}
    metadata = Metadata(problems={**PROBLEMS, "bikes": {"training": "bikes_training"}})
    html = render(Verdict("mlflow", "up", "-"), work=work, metadata=metadata, models=models)
    assert "inv trigger bikes_training --wait" in card(html, "Drift bikes")
    assert "limit 30%" in card(html, "Drift bikes")
    assert "inv trigger training_pipeline --wait" in card(html, "Training flight-delay")


def test_page_escapes_hostile_strings():
    html = render(
        Verdict("mlflow", "down", HOSTILE),
        links={HOSTILE: f'http://x/"onclick={HOSTILE}'},
        work=[Verdict("training", "down", HOSTILE), Verdict("drift", "up", "-")],
        metadata=Metadata(
            problems=PROBLEMS, runs={"training_pipeline": Run(HOSTILE, "failed", 9, 1)}
        ),
        models={"flight-delay": Models(drift={HOSTILE: 0.5})},
    )
    assert html.count("<script>") == 1
    assert "alert(1)</script>" not in html
    assert html.count("&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#x27;&amp;$status") >= 3
    assert '"onclick' not in html
    assert "%3Cscript%3E" in card(html, "Training")


def test_page_links_results_to_airflow_and_mlflow():
    runs = {dag_id: Run(f"r+{dag_id}", "success", 9, 1) for dag_id in [*DAG_IDS.values(), CANARY]}
    work = [Verdict(name, "up", "-") for name in WORK]
    models = {"flight-delay": Models({"champion": Version("3", "run3", "", {})})}
    html = render(
        work=work, links=BASES, metadata=Metadata(problems=PROBLEMS, runs=runs), models=models
    )
    links = {n: re.findall('href="(.*?)"', card(html, labels.TITLES[n])) for n in WORK}
    assert links == {
        "canary": ["http://a:1/dags/canary/runs/r%2Bcanary"],
        "training": ["http://a:1/dags/training_pipeline/runs/r%2Btraining_pipeline"],
        "monitoring": ["http://a:1/dags/monitoring_pipeline/runs/r%2Bmonitoring_pipeline"],
        "dag-files": ["http://a:1/dags"],
        "champion": ["http://m:2/#/models/flight-delay/versions/3"],
        **{name: [] for name in ("challenger", "drift", "backup", "disk")},
    }


def test_page_contains_pictures_of_drift_and_the_last_hour():
    work = [Verdict("drift", "up", "-")]
    models = {"flight-delay": Models(drift={"2013-05": 0.5})}
    mlflow = Verdict("mlflow", "up", "-")
    html = render(mlflow, work=work, models=models, history=("", "down", "up"))
    assert 'aria-label="drifted columns: 2013-05 50%' in card(html, "Drift")
    assert 'aria-label="last hour: down 1 min, up 1 min"' in html
    assert "<svg" not in render(mlflow, work=work, models={})


def test_policy_allows_only_the_style_and_script_of_the_page():
    work = [Verdict(name, "down", "-") for name in WORK]
    models = {"flight-delay": Models(drift={"2013-05": 0.5})}
    html = render(Verdict("mlflow", "up", "fine"), work=work, models=models, history=("up",))
    for tag in ("style", "script"):
        [text] = re.findall(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}';" in page.policy()
    assert not re.search(r' style="| on\w+="', html)
    assert "unsafe" not in page.policy()


def test_page_refers_to_no_other_server():
    work = [Verdict(name, "down", "-") for name in WORK]
    html = render(
        Verdict("mlflow", "down", "-"), work=work, models={"flight-delay": Models(drift={"x": 1})}
    )
    assert not re.findall(r"https?://|//[a-z]", re.sub(r"\n// .*", "", html))


def test_headline_names_unhealthy_services():
    degraded, down = Verdict("redis", "degraded", "-"), Verdict("mlflow", "down", "-")
    html = render(degraded, down, Verdict("postgres", "up", "-"))
    assert "<span>mlflow is down; redis is degraded</span>" in html
    assert "<title>mlflow is down" in html
    assert "<span>3 down, 1 degraded</span>" in render(
        degraded, down, down, down, Verdict("postgres", "up", "-")
    )
    unknown = Verdict("redis", "unknown", "-")
    html = render(degraded, unknown, down, Verdict("postgres", "up", "-"))
    assert "<span>mlflow is down; redis is unknown; redis is degraded</span>" in html
    html = render(unknown, down)
    assert "<span>No service is up</span>" in html
    assert "<span>All services are up</span>" in render(Verdict("mlflow", "up", "-"))
    assert "All services are unknown" in render(Verdict("mlflow", "unknown", "-"))


def test_page_shows_when_services_were_checked():
    assert "Checked 0 s ago, " in render(Verdict("mlflow", "up", "-"))
    early = Board([], None, Round([], []))
    assert "First check in progress." in page.render(early, {}, 10)


@pytest.mark.parametrize(
    ("seconds", "text"), [(5, "5 s"), (60, "1 min"), (7300, "2 h"), (200000, "2 d")]
)
def test_page_shows_times_in_one_unit(seconds, text):
    since = datetime.now(UTC) - timedelta(seconds=seconds)
    work = [Verdict("training", "up", "-", seen=since)]
    html = render(Verdict("mlflow", "up", "-"), since=since, work=work)
    assert f">for {text}</time>" in html
    assert f">{text} ago</time>" in card(html, "Training")


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("localhost:8081", "localhost"),
        ("192.0.2.7", "192.0.2.7"),
        ("my_host.example:80", "my_host.example"),
        ("[2001:db8::1]:8081", "[2001:db8::1]"),
    ],
)
def test_host_name_of_a_valid_header(header, name):
    assert page.host_name(header) == name


@pytest.mark.parametrize(
    "header",
    ["", "a b", "x/../y", "user@host", 'x"y', "x<script>", "x:99:1", "x:", "x\n", "::1", "é", "x#"],
)
def test_host_name_of_an_invalid_header_is_none(header):
    assert page.host_name(header) is None
