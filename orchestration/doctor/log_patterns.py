"""Match logs against the failure patterns in log_patterns.toml.

A line is never quoted because it may contain a token.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from orchestration.errors import Problem

COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
# The service name of patterns that match the error message of a failed `inv up`.
UP = "inv up"


@dataclass(frozen=True)
class Pattern:
    """A known failure and how it appears in logs; log_patterns.toml explains the fields."""

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


def match(service: str, text: str, *, healthy: bool, names: Mapping[str, str]) -> Iterator[Problem]:
    """Yield the known failures in a service's log; for a healthy service only `lasting` ones.

    The message of a failed `inv up` may quote any service. `names` fills the fixes.
    """
    plain = COLOURS.sub("", text)
    for one in patterns():
        applies = service == UP or service.startswith(one.services)
        if not applies or (healthy and not one.lasting):
            continue
        if result := re.search(one.pattern, plain):
            cause, fix = one.cause.format(*result.groups()), one.fix.format(**names)
            yield Problem(one.code, cause, fix, service)
