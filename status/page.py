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
from status.labels import COMMANDS, MARKS, ROLES, TITLES
from status.metadata import CANARY, PIPELINES
from status.models import DRIFT_LIMIT, MODEL
from status.verdict import Verdict
from status.work import elapsed

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
    titles = ", ".join(TITLES[one.name] for one in board.attention)
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
    title, when, models = escape(TITLES[one.name]), "", board.round.models
    if link := links.get(one.name):
        title = f'<a href="{escape(link)}">{title}</a>'
    if one.seen:
        moment = one.seen.isoformat(timespec="seconds")
        when = f'<time datetime="{moment}">{_age(one.seen)} ago</time>'
    months = models.drift if one.name == "drift" and models else {}
    return CARD.substitute(
        _common(one),
        # "up" describes services; the result of a run is "ok".
        word="ok" if one.state == "up" else one.state,
        title=title,
        when=when,
        picture=pictures.drift(months, DRIFT_LIMIT) if months else "",
        command="" if one.state in ("up", "running") else _command(COMMANDS.get(one.name, "")),
    )


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
    runs = board.round.metadata.runs if board.round.metadata else {}
    for name, dag_id in {**PIPELINES, CANARY: CANARY}.items():
        if dag_id in runs:
            links[name] = f"{airflow}dags/{dag_id}/runs/{quote(runs[dag_id].run_id, safe='')}"
    versions = board.round.models.versions if board.round.models else {}
    for alias, one in versions.items():
        links[alias] = f"{mlflow}#/models/{MODEL}/versions/{quote(one.version, safe='')}"
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
