"""Render a board as a web page: fill status.html with escaped values."""

import base64
import hashlib
import re
from collections import Counter
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from string import Template
from urllib.parse import quote

from status import pictures
from status.board import Board, ServiceStatus
from status.labels import COMMANDS, MARKS, PIPELINE_OF, ROLES, title
from status.models import Models
from status.verdict import Verdict
from status.work import dag_ids, elapsed, label, problems

TEMPLATE = Template(Path(__file__).with_name("status.html").read_text(encoding="utf-8"))
# Host names, IPv4 and bracketed IPv6, each with an optional port; nothing that could end a URL.
HOST = re.compile(r"(?P<name>[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
# Details may contain names of any length, such as that of a DAG file.
DETAIL_CHARACTERS = 400
# Characters that change the text direction. <bdi> does not contain those that are never closed.
BIDI_CONTROLS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
ROW = Template(
    '<tr class="$state"><th scope="row">$name<small>$role</small></th>'
    '<td class="state"><span aria-hidden="true">$mark</span> $state</td>'
    '<td class="since"><time datetime="$since">$elapsed</time>$strip</td>'
    '<td class="latency">$latency</td><td class="detail"><bdi>$detail</bdi>$command</td></tr>'
)
CARD = Template(
    '<li class="$state"><h3>$title</h3>'
    '<p class="state"><span aria-hidden="true">$mark</span> $word</p>'
    '<p class="when">$when</p><p class="detail"><bdi>$detail</bdi>$command</p>$picture</li>'
)


def host_name(header: str) -> str | None:
    """Return the host name of a Host header without the port, or None if it is invalid."""
    match = HOST.fullmatch(header)
    return match["name"] if match else None


def render(board: Board, bases: dict[str, str], interval: float) -> str:
    """Return the page; `bases` are URLs by link text, `interval` is in seconds between updates."""
    values = {
        "status": board.status,
        "headline": _headline(board),
        "checked": _checked(board),
        "interval": f"{interval:g}",
        # Browsers drop fractions, and reload without a pause at 0.
        "reload": f"{max(interval, 1):.0f}",
    }
    anchors = [f'<a href="{escape(url)}">{escape(text)}</a>' for text, url in bases.items()]
    links = _links(board, bases)
    cards = [_card(one, links, board) for one in board.round.work]
    titles = escape(", ".join(title(one.name) for one in board.attention))
    # Hidden rather than absent, because the script updates the page element by element.
    hidden = "" if titles else " hidden"
    return TEMPLATE.substitute(
        {key: escape(value) for key, value in values.items()},
        rows="\n".join(_row(service) for service in board.services),
        links="\n".join(anchors),
        attention=f'<p class="attention"{hidden}>Needs attention: {titles}</p>',
        cards="\n".join(cards),
    )


def policy() -> str:
    """Return the Content-Security-Policy, which allows only the page's style and script by hash."""
    return (
        f"default-src 'none'; style-src {_hash('style')}; script-src {_hash('script')}; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )


def _hash(tag: str) -> str:
    [text] = re.findall(f"<{tag}>(.*?)</{tag}>", TEMPLATE.template, re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _row(service: ServiceStatus) -> str:
    one, since = service.verdict, service.since.isoformat(timespec="seconds")
    latency = "\N{EN DASH}" if one.latency_ms is None else f"{one.latency_ms:.0f} ms"
    return ROW.substitute(
        _common(one) | {"name": escape(one.name), "role": ROLES.get(one.name, ""), "since": since},
        elapsed=f"for {_age(service.since)}",
        latency=latency,
        strip=pictures.strip(service.history) if service.history else "",
        command="" if one.state == "up" else _command(f"inv logs -s {one.name}"),
    )


def _card(one: Verdict, links: dict[str, str], board: Board) -> str:
    heading, when = escape(title(one.name)), ""
    if link := links.get(one.name):
        heading = f'<a href="{escape(link)}">{heading}</a>'
    if one.seen:
        moment = one.seen.isoformat(timespec="seconds")
        when = f'<time datetime="{moment}">{_age(one.seen)} ago</time>'
    return CARD.substitute(
        _common(one),
        # "up" describes services; the result of a run is "ok".
        word="ok" if one.state == "up" else one.state,
        title=heading,
        when=when,
        picture=_picture(one.name, board),
        command="" if one.state in ("up", "running") else _command(_suggestion(one.name, board)),
    )


def _problem(name: str, board: Board) -> str:
    """Return the problem of a result, or a blank."""
    names = problems(board.round.metadata, board.round.models)
    return name.partition(" ")[2] or (names[0] if len(names) == 1 else "")


def _picture(name: str, board: Board) -> str:
    models = (board.round.models or {}).get(_problem(name, board), Models())
    is_drift = name.partition(" ")[0] == "drift" and models.drift
    return pictures.drift(models.drift, models.limit) if is_drift else ""


def _suggestion(name: str, board: Board) -> str:
    """Return the command to run if a result is not good."""
    role = name.partition(" ")[0]
    metadata = board.round.metadata
    dags = metadata.problems.get(_problem(name, board), {}) if metadata else {}
    if dag := dags.get(PIPELINE_OF.get(role, "")):
        return f"inv trigger {dag} --wait"
    return COMMANDS.get(role, "")


def _common(one: Verdict) -> dict[str, str]:
    """Return the values that rows and cards share: state, its mark and the shortened detail."""
    start = BIDI_CONTROLS.sub("\N{REPLACEMENT CHARACTER}", one.detail[:DETAIL_CHARACTERS])
    detail = f"{start}…" if len(one.detail) > DETAIL_CHARACTERS else start
    return {"state": one.state, "mark": MARKS[one.state], "detail": escape(detail)}


def _command(command: str) -> str:
    return f" <code>{escape(command)}</code>" if command else ""


def _links(board: Board, bases: dict[str, str]) -> dict[str, str]:
    """Return the page of Airflow or MLflow with more about each result, where there is one."""
    airflow, mlflow = bases.get("Airflow", ""), bases.get("MLflow", "")
    links = {"dag-files": f"{airflow}dags"}
    metadata, models = board.round.metadata, board.round.models
    names = problems(metadata, models)
    runs = metadata.runs if metadata else {}
    for name, dag_id in dag_ids(metadata, models).items():
        if dag_id in runs:
            run_id = quote(runs[dag_id].run_id, safe="")
            links[name] = f"{airflow}dags/{quote(dag_id, safe='')}/runs/{run_id}"
    for problem, known in (models or {}).items():
        for alias, one in known.versions.items():
            path = f"{quote(problem, safe='')}/versions/{quote(one.version, safe='')}"
            links[label(alias, problem, names)] = f"{mlflow}#/models/{path}"
    return links


def _headline(board: Board) -> str:
    verdicts = [service.verdict for service in board.services]
    worst_first = ("down", "unknown", "degraded")
    bad = [verdict for state in worst_first for verdict in verdicts if verdict.state == state]
    if not bad:
        return "All services are up"
    if len(bad) == len(board.services):
        states = {verdict.state for verdict in bad}
        return f"All services are {states.pop()}" if len(states) == 1 else "No service is up"
    if len(bad) > 3:
        counts = Counter(verdict.state for verdict in bad)
        return ", ".join(f"{count} {state}" for state, count in counts.items())
    return "; ".join(f"{verdict.name} is {verdict.state}" for verdict in bad)


def _checked(board: Board) -> str:
    if board.checked_at is None:
        return "First check in progress."
    return f"Checked {_age(board.checked_at)} ago, {board.checked_at:%Y-%m-%d %H:%M:%S} UTC."


def _age(moment: datetime) -> str:
    return elapsed((datetime.now(UTC) - moment).total_seconds())
