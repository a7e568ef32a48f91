"""A board as a web page: status.html with everything escaped that goes into it."""

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
from status.board import Board, Shown
from status.metadata import CANARY, PIPELINES
from status.models import DRIFT_LIMIT, MODEL
from status.verdict import Verdict
from status.words import MARKS, NEXT, ROLES, TITLES
from status.work import elapsed

TEMPLATE = Template(Path(__file__).with_name("status.html").read_text(encoding="utf-8"))
# Host names, IPv4 and bracketed IPv6, each with an optional port. Nothing that could end a URL.
HOST = re.compile(r"(?P<name>[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
# Probes say a line; what others chose, as a month's name, may be a book.
DETAIL_CHARACTERS = 400
# Marks that turn what follows around; <bdi> alone does not hold those that are never closed.
TURNING = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
ROW = Template(
    '<tr class="$state"><th scope="row">$name<small>$role</small></th>'
    '<td class="state"><span aria-hidden="true">$mark</span> $state</td>'
    '<td class="since"><time datetime="$since">$elapsed</time>$strip</td>'
    '<td class="latency">$latency</td><td class="detail"><bdi>$detail</bdi>$next</td></tr>'
)
CARD = Template(
    '<li class="$state"><h3>$title</h3>'
    '<p class="state"><span aria-hidden="true">$mark</span> $word</p>'
    '<p class="when">$when</p><p class="detail"><bdi>$detail</bdi>$next</p>$picture</li>'
)


def host_name(header: str) -> str | None:
    """Take the host name, without port, from a Host header; None when it is not a plain one."""
    match = HOST.fullmatch(header)
    return match["name"] if match else None


def render(board: Board, bases: dict[str, str], interval: float) -> str:
    """Fill the page; `bases` are words and addresses, `interval` the seconds between reloads."""
    values = {
        "status": board.status,
        "headline": _headline(board),
        "checked": _checked(board),
        "interval": f"{interval:g}",
        # Browsers cut fractions off, and load without pause at 0.
        "reload": f"{max(interval, 1):.0f}",
    }
    anchors = [f'<a href="{escape(url)}">{escape(word)}</a>' for word, url in bases.items()]
    links = _links(board, bases)
    cards = [_card(one, links, board) for one in board.round.work]
    named = ", ".join(TITLES[one.name] for one in board.attention)
    return TEMPLATE.substitute(
        {key: escape(value) for key, value in values.items()},
        rows="\n".join(_row(shown) for shown in board.services),
        links="\n".join(anchors),
        # Always there, as the page is renewed piece by piece.
        attention=f'<p class="attention"{"" if named else " hidden"}>Needs a look: {named}</p>',
        cards="\n".join(cards),
    )


def policy() -> str:
    """The Content-Security-Policy: this page's one style and one script by hash, nothing else."""
    return (
        f"default-src 'none'; style-src {_hash('style')}; script-src {_hash('script')}; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )


def _hash(tag: str) -> str:
    [text] = re.findall(f"<{tag}>(.*?)</{tag}>", TEMPLATE.template, re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _row(shown: Shown) -> str:
    one, since = shown.verdict, shown.since.isoformat(timespec="seconds")
    latency = "\N{EN DASH}" if one.latency_ms is None else f"{one.latency_ms:.0f} ms"
    return ROW.substitute(
        _told(one) | {"name": escape(one.name), "role": ROLES.get(one.name, ""), "since": since},
        elapsed=f"for {_ago(shown.since)}",
        latency=latency,
        strip=pictures.strip(shown.history) if shown.history else "",
        next="" if one.state == "up" else _next(f"inv logs -s {one.name}"),
    )


def _card(one: Verdict, links: dict[str, str], board: Board) -> str:
    title, when, models = escape(TITLES[one.name]), "", board.round.models
    if link := links.get(one.name):
        title = f'<a href="{escape(link)}">{title}</a>'
    if one.seen:
        moment = one.seen.isoformat(timespec="seconds")
        when = f'<time datetime="{moment}">{_ago(one.seen)} ago</time>'
    months = models.drift if one.name == "drift" and models else {}
    return CARD.substitute(
        _told(one),
        # A training is not "up", it went well.
        word="well" if one.state == "up" else one.state,
        title=title,
        when=when,
        picture=pictures.drift(months, DRIFT_LIMIT) if months else "",
        next="" if one.state in ("up", "running") else _next(NEXT.get(one.name, "")),
    )


def _told(one: Verdict) -> dict[str, str]:
    """What rows and cards say alike: state, its mark, and the detail in short."""
    shown = TURNING.sub("\N{REPLACEMENT CHARACTER}", one.detail[:DETAIL_CHARACTERS])
    detail = f"{shown}…" if len(one.detail) > DETAIL_CHARACTERS else shown
    return {"state": one.state, "mark": MARKS[one.state], "detail": escape(detail)}


def _next(command: str) -> str:
    return f" <code>{escape(command)}</code>" if command else ""


def _links(board: Board, bases: dict[str, str]) -> dict[str, str]:
    """Address the page of Airflow or MLflow that says more, for each piece of work with one."""
    airflow, mlflow = bases.get("Airflow", ""), bases.get("MLflow", "")
    found = {"dag-files": f"{airflow}dags"}
    runs = board.round.metadata.runs if board.round.metadata else {}
    for name, dag_id in {**PIPELINES, CANARY: CANARY}.items():
        if dag_id in runs:
            found[name] = f"{airflow}dags/{dag_id}/runs/{quote(runs[dag_id].run_id, safe='')}"
    versions = board.round.models.versions if board.round.models else {}
    for alias, held in versions.items():
        found[alias] = f"{mlflow}#/models/{MODEL}/versions/{quote(held.version, safe='')}"
    return found


def _headline(board: Board) -> str:
    verdicts = [shown.verdict for shown in board.services]
    worst_first = ("down", "unknown", "degraded")
    bad = [verdict for state in worst_first for verdict in verdicts if verdict.state == state]
    if not bad:
        return "All services are up"
    if len(bad) == len(board.services):
        states = {verdict.state for verdict in bad}
        return f"Everything is {states.pop()}" if len(states) == 1 else "Nothing is up"
    if len(bad) > 3:
        counts = Counter(verdict.state for verdict in bad)
        return ", ".join(f"{count} {state}" for state, count in counts.items())
    return "; ".join(f"{verdict.name} is {verdict.state}" for verdict in bad)


def _checked(board: Board) -> str:
    if board.checked_at is None:
        return "The first round is under way."
    return f"Checked {_ago(board.checked_at)} ago, {board.checked_at:%Y-%m-%d %H:%M:%S} UTC."


def _ago(moment: datetime) -> str:
    return elapsed((datetime.now(UTC) - moment).total_seconds())
