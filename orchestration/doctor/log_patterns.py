"""What failures print, read from log_patterns.toml.

A line is never quoted: it may hold a token.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from orchestration.errors import Problem

COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
# Where `inv up` itself stands for a service: what it printed when it failed.
UP = "inv up"


@dataclass(frozen=True)
class Pattern:
    """A failure by what services print; log_patterns.toml explains the fields."""

    code: str
    services: tuple[str, ...]
    pattern: str
    cause: str
    fix: str
    lasting: bool = False


@cache
def patterns() -> tuple[Pattern, ...]:
    """Return all patterns, in the order of the file."""
    text = Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")
    entries = tomllib.loads(text)["pattern"]
    return tuple(Pattern(**{**one, "services": tuple(one["services"])}) for one in entries)


def read(service: str, text: str, *, well: bool, names: Mapping[str, str]) -> Iterator[Problem]:
    """Yield the known failures in a service's log; of a healthy one only those that last.

    The message of a failed `inv up` may quote any service. `names` fills the fixes.
    """
    plain = COLOURS.sub("", text)
    for one in patterns():
        printed = service == UP or service.startswith(one.services)
        if not printed or (well and not one.lasting):
            continue
        if found := re.search(one.pattern, plain):
            cause, fix = one.cause.format(*found.groups()), one.fix.format(**names)
            yield Problem(one.code, cause, fix, service)
