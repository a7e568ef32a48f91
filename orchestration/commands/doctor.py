"""`inv doctor`: diagnose known problems and suggest fixes."""

import json

from orchestration.doctor import diagnose
from orchestration.project import Project


def run(project: Project, *, as_json: bool) -> bool:
    """Print all known problems; return whether there are none."""
    found = diagnose.examine(project)
    if as_json:
        findings = [
            {"name": one.code, "cause": one.cause, "fix": one.fix, "where": one.where}
            for one in found
        ]
        document = {"status": "findings" if found else "well", "findings": findings}
        print(json.dumps(document, indent=2))
    else:
        print(
            "\n".join(map(diagnose.text, found)) or "No known problems. All services are healthy."
        )
    return not found
