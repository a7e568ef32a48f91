"""A board as a web page: status.html with everything escaped that goes into it."""

import base64
import hashlib
import re
from collections import Counter
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from string import Template

from status.board import Board, Shown

TEMPLATE = Template(Path(__file__).with_name("status.html").read_text(encoding="utf-8"))
# Host names, IPv4 and bracketed IPv6, each with an optional port. Nothing that could end a URL.
HOST = re.compile(r"(?P<name>[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
MARKS = {"up": "✓", "degraded": "!", "down": "✕", "unknown": "?"}
ROLES = {
    "airflow-apiserver": "web interface and API",
    "airflow-scheduler": "decides what runs when",
    "airflow-dag-processor": "reads the DAG files",
    "airflow-triggerer": "waits for deferred tasks",
    "airflow-worker": "runs the tasks",
    "redis": "queue between scheduler and worker",
    "postgres": "metadatabase, as Airflow sees it",
    "mlflow": "runs and models, through its database",
}
ROW = Template(
    '<tr class="$state"><th scope="row">$name<small>$role</small></th>'
    '<td class="state"><span aria-hidden="true">$mark</span> $state</td>'
    '<td class="since"><time datetime="$since">$elapsed</time></td>'
    '<td class="latency">$latency</td><td class="detail">$detail</td></tr>'
)


def host_name(header: str) -> str | None:
    """Take the host name, without port, from a Host header; None when it is not a plain one."""
    match = HOST.fullmatch(header)
    return match["name"] if match else None


def render(board: Board, links: dict[str, str], interval: float) -> str:
    """Fill the page; `links` are words and addresses, `interval` the seconds between reloads."""
    values = {
        "status": board.status,
        "headline": _headline(board),
        "checked": _checked(board),
        "interval": f"{interval:g}",
    }
    anchors = [f'<a href="{escape(url)}">{escape(word)}</a>' for word, url in links.items()]
    return TEMPLATE.substitute(
        {key: escape(value) for key, value in values.items()},
        rows="\n".join(_row(shown) for shown in board.services),
        links="\n".join(anchors),
    )


def policy() -> str:
    """The Content-Security-Policy: this page's one style and one script by hash, nothing else."""
    return "; ".join(
        [
            "default-src 'none'",
            f"style-src {_hash('style')}",
            f"script-src {_hash('script')}",
            "connect-src 'self'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )


def _hash(tag: str) -> str:
    [text] = re.findall(f"<{tag}>(.*?)</{tag}>", TEMPLATE.template, re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _row(shown: Shown) -> str:
    verdict = shown.verdict
    values = {
        "state": verdict.state,
        "name": verdict.name,
        "role": ROLES.get(verdict.name, ""),
        "mark": MARKS[verdict.state],
        "since": shown.since.isoformat(timespec="seconds"),
        "elapsed": f"for {_elapsed(shown.since)}",
        "latency": "\N{EN DASH}" if verdict.latency_ms is None else f"{verdict.latency_ms:.0f} ms",
        "detail": verdict.detail,
    }
    return ROW.substitute({key: escape(value) for key, value in values.items()})


def _headline(board: Board) -> str:
    verdicts = [shown.verdict for shown in board.services]
    worst_first = ("down", "unknown", "degraded")
    bad = [verdict for state in worst_first for verdict in verdicts if verdict.state == state]
    if not bad:
        return "Everything is up"
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
    return f"Checked {_elapsed(board.checked_at)} ago, {board.checked_at:%Y-%m-%d %H:%M:%S} UTC."


def _elapsed(moment: datetime) -> str:
    """Say how long ago `moment` was, in the largest fitting unit."""
    seconds = max(0, int((datetime.now(UTC) - moment).total_seconds()))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
