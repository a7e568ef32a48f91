"""Compare the headings of docs/troubleshooting.md with the problem codes in the source."""

import ast
import re
import tomllib

from orchestration.doctor import config_drift, state_checks
from tests.support.repository import ROOT

# Codes that are computed where the problem is created, from tables or from other problems.
ELSEWHERE = {
    "config_drift: code", "diagnose: *key", "log_patterns: one.code",
    "object_store: result['name']", "s3_errors: trouble.name", "state_checks: name",
}  # fmt: skip


def codes_of(path):
    """Yield the codes of a module, and `module: expression` where one cannot be resolved."""
    nodes = [*ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
    assigned = [node for node in nodes if isinstance(node, ast.Assign)]
    for call in (node for node in nodes if isinstance(node, ast.Call)):
        if ast.unparse(call.func).rpartition(".")[2] in ("Problem", "Trouble"):
            code = ast.unparse(call.args[0])
            values = [one.value for one in assigned if ast.unparse(one.targets[0]) == code]
            leaves = [leaf for value in (values or call.args[:1]) for leaf in ast.walk(value)]
            texts = {leaf.value for leaf in leaves if isinstance(leaf, ast.Constant)}
            literal = values or isinstance(call.args[0], ast.Constant)
            yield from texts if literal else {f"{path.stem}: {code}"}


def test_headings_are_exactly_the_problem_codes():
    codes = {code for path in (ROOT / "orchestration").rglob("*.py") for code in codes_of(path)}
    assert {code for code in codes if ": " in code} == ELSEWHERE
    patterns = (ROOT / "orchestration/doctor/log_patterns.toml").read_text("utf-8")
    codes |= {one["code"] for one in tomllib.loads(patterns)["pattern"]}
    codes |= {name for _, name, _ in config_drift.SHARED}
    codes |= {code for code, *_ in state_checks.RESULTS.values()}
    page = (ROOT / "docs/troubleshooting.md").read_text("utf-8")
    assert sorted(re.findall(r"^### (.+)$", page, re.M)) == sorted(codes - ELSEWHERE)
