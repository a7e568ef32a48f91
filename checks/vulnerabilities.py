"""What is known against pinned versions, asked of a vulnerability service by pip-audit.

Each version is asked for once, however many locks hold it, and so is one that is known to be bad:
where nothing is found in that one, nothing would be found in any.
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
NEXT = "next: try again with network, or ask another service: nox -s audit -- -s osv"
ARGV = ("pip-audit", "--require-hashes", "--disable-pip", "--strict", "--progress-spinner", "off")
FORMAT = ("--format", "json", "--aliases", "on", "--desc", "off")
# The line of a failure that says something: pip-audit's own, or the last one of a traceback.
REASON = re.compile(
    r"^(?:ERROR:[\w.]+:(?!Tip:)|[\w.]*(?:Error|Timeout|Redirects): )(.+)$", re.MULTILINE
)
# The vulnerabilities of each version: id, aliases, fix_versions.
Answers = dict[Key, list[dict[str, Any]]]


def answers(locks: Iterable[Iterable[Pin]], options: Sequence[str] = ()) -> Answers:
    """What is known against each version that a lock pins; `options` are pip-audit's.

    Raises StackError when the service does not answer for all of them, or finds nothing wrong
    with the one that is known to be bad.
    """
    found: Answers = {}
    for lock in ([BAD], *locks):
        if not (wanted := [pin for pin in lock if pin.key not in found]):
            continue
        try:
            found |= _asked(wanted, options)
        except StackError as error:
            silent = "nothing was audited: the vulnerability service did not answer"
            told = "not all was audited" if found else silent
            raise StackError(f"{told}: {error}; {NEXT}") from None
        if not found[BAD.key]:
            told = "the audit finds nothing even in a package that is known to be bad"
            raise StackError(f"{told}, {BAD.name} {BAD.version}; {NEXT}")
    return found


def _asked(wanted: Sequence[Pin], options: Sequence[str]) -> Answers:
    """What pip-audit tells of these; raises StackError with its reason when it is not of all."""
    with TemporaryDirectory() as folder:
        lines, out = Path(folder, "pins.txt"), Path(folder, "answers.json")
        lines.write_text("\n".join(map(str, wanted)), encoding="utf-8")
        argv = (*ARGV, *FORMAT, *options, "-r", str(lines), "-o", str(out))
        said = runner.run(runner.Command(argv), check=False).output
        # It ends with 1 for findings and for failures alike, but writes only what it could ask.
        if not out.exists():
            raise StackError(reason(said))
        found = read(out.read_text(encoding="utf-8"))
    if silent := [f"{pin.name} {pin.version}" for pin in wanted if pin.key not in found]:
        raise StackError(f"no answer for {', '.join(silent)}")
    return found


def read(text: str) -> Answers:
    """pip-audit's JSON by package and version; what it skipped is not in it."""
    told = [part for part in json.loads(text)["dependencies"] if "skip_reason" not in part]
    return {(part["name"], part["version"]): part["vulns"] for part in told}


def reason(words: str) -> str:
    """The one line of pip-audit's failure that says why."""
    return str((REASON.findall(words) or [runner.tail(words, 1)])[-1])
