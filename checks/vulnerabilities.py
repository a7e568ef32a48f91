"""Query a vulnerability service for pinned versions with pip-audit.

Each version is queried once, even if several locks pin it. A version with a known vulnerability is
queried first: if the service reports nothing for it, its other answers are worthless.
"""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from checks.pins import Key, Pin
from orchestration.errors import StackError
from orchestration.process import runner

BAD = Pin(
    "jinja2", "2.4.1", ("sha256:a90b3f18ccbb50c0a0fb3eaff23d60b7664e3e447c676a2cd21459a257574b38",)
)
RETRY = "Try again with network access, or use another service: nox -s audit -- -s osv"
ARGV = ("pip-audit", "--require-hashes", "--disable-pip", "--strict", "--progress-spinner", "off")
FORMAT = ("--format", "json", "--aliases", "on", "--desc", "off")
# The informative line of a failure: pip-audit's own, or the last one of a traceback.
REASON = re.compile(
    r"^(?:ERROR:[\w.]+:(?!Tip:)|[\w.]*(?:Error|Timeout|Redirects): )(.+)$", re.MULTILINE
)
# The vulnerabilities of each version: id, aliases, fix_versions.
Answers = dict[Key, list[dict[str, Any]]]


def query(locks: Iterable[Iterable[Pin]], options: Sequence[str] = ()) -> Answers:
    """Return the known vulnerabilities of each version that a lock pins.

    `options` are passed to pip-audit. Raises StackError if the service does not answer for all
    versions, or reports nothing for the version with a known vulnerability.
    """
    answers: Answers = {}
    for lock in ([BAD], *locks):
        if not (missing := [pin for pin in lock if pin.key not in answers]):
            continue
        try:
            answers |= _run_pip_audit(missing, options)
        except StackError as error:
            nothing = "Nothing was audited: the vulnerability service did not answer."
            cause = "The audit is incomplete." if answers else nothing
            raise StackError(f"{cause} {error}", fix=RETRY) from None
        if not answers[BAD.key]:
            cause = "The vulnerability service reports nothing even for a vulnerable package"
            raise StackError(f"{cause}, {BAD.name} {BAD.version}.", fix=RETRY)
    return answers


def _run_pip_audit(pins: Sequence[Pin], options: Sequence[str]) -> Answers:
    """Return pip-audit's answers. Raises StackError with the reason if one is missing."""
    with TemporaryDirectory() as folder:
        lines, out = Path(folder, "pins.txt"), Path(folder, "answers.json")
        lines.write_text("\n".join(map(str, pins)), encoding="utf-8")
        argv = (*ARGV, *FORMAT, *options, "-r", str(lines), "-o", str(out))
        output = runner.run(runner.Command(argv), check=False).output
        # Exit code 1 means findings or a failure. After a failure it has written no file.
        if not out.exists():
            raise StackError(reason(output))
        answers = parse(out.read_text(encoding="utf-8"))
    if missing := [f"{pin.name} {pin.version}" for pin in pins if pin.key not in answers]:
        raise StackError(f"No answer for {', '.join(missing)}.")
    return answers


def parse(text: str) -> Answers:
    """Parse pip-audit's JSON, without the packages that it skipped."""
    parts = [part for part in json.loads(text)["dependencies"] if "skip_reason" not in part]
    return {(part["name"], part["version"]): part["vulns"] for part in parts}


def reason(output: str) -> str:
    """Return the line of pip-audit's output that explains its failure."""
    return str((REASON.findall(output) or [runner.tail(output, 1)])[-1])
