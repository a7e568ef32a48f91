"""Order problems so that causes come before the symptoms they may have."""

from collections.abc import Collection, Iterable

from orchestration.doctor.state_checks import RESULTS
from orchestration.errors import Problem
from orchestration.health.dependencies import depth

# Places without which no service works.
FIRST = ("machine", "engine", ".env", "databases", "certificates")
# More than the depth of any service.
LAST_SERVICE = 99
# Results of the work: a service that does not run may be their cause, but never the reverse.
OF_WORK = ("run-failed", *(code for code, *_ in RESULTS.values()))


def causes_first(problems: Iterable[Problem], unrelated: Collection[str]) -> list[Problem]:
    """Return problems of machine, engine and settings, then of services, then of the work.

    A service comes after those it needs. Problems whose code is `unrelated` come last.
    """

    def rank(problem: Problem) -> tuple[int, int]:
        if problem.code in (*OF_WORK, *unrelated):
            return (3 if problem.code in unrelated else 2), 0
        if problem.where in FIRST:
            return 0, 0
        if problem.where == "all services":
            return 1, LAST_SERVICE
        return 1, min(map(depth, problem.where.split(", ")))

    return sorted(problems, key=rank)
