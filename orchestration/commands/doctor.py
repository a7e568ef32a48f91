"""`inv doctor`: diagnose known problems and suggest fixes."""

import json

from orchestration.doctor import diagnose
from orchestration.project import Project


def run(project: Project, *, as_json: bool) -> bool:
    """Print all known problems; return whether there are none."""
    problems = diagnose.examine(project)
    if as_json:
        findings = [
            {"name": one.code, "cause": one.cause, "fix": one.fix, "where": one.where}
            for one in problems
        ]
        document = {"status": "findings" if problems else "well", "findings": findings}
        print(json.dumps(document, indent=2))
    else:
        text = "\n".join(map(diagnose.format_problem, problems))
        print(text or "No known problems. All services are healthy.")
    return not problems
