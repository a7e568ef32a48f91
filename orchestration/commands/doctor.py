"""`inv doctor`: diagnose known problems and suggest fixes."""

import json
from dataclasses import asdict

from orchestration import doctor
from orchestration.project import Project


def run(project: Project, *, as_json: bool) -> bool:
    """Print what was found; True: nothing."""
    found = doctor.examine(project)
    if as_json:
        told = {"status": "findings" if found else "well", "findings": [asdict(f) for f in found]}
        print(json.dumps(told, indent=2))
    else:
        print(
            "\n".join(map(doctor.words, found))
            or "well: no known failure, and every service is well"
        )
    return not found
