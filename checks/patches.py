"""The page of patches, docs/patches.md: `python -m checks.patches` writes it from the registry."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/patches.md"
HEAD = """# Patches

Each replacement of something internal to Airflow, Celery, MLflow or a library under them, with the
versions it is for. Outside its versions a patch is skipped. If one of its names is missing inside
them, a patch for speed is skipped too, and one for correctness stops the service with a sentence
that names it. `inv doctor`, `inv health --json` and the status page list the patches that are not
active. On the pinned versions every patch is active.

This page is generated: `python -m checks.patches`. The code is in
`orchestration/config/stack_runtime`.

| patch | changes | versions | kind | without it | upstream | delete with |
|---|---|---|---|---|---|---|
"""


def page() -> str:
    """Return the text of the page."""
    sys.path.insert(0, str(ROOT / "orchestration/config"))
    from stack_runtime.airflow.patches import PATCHES as OF_AIRFLOW
    from stack_runtime.mlflow.patches import PATCHES as OF_MLFLOW

    rows = [
        f"| {one.name} | `{one.module}` | {one.distribution} {one.versions} | {one.kind} "
        f"| {one.reason} | {one.upstream} | {one.delete_when} |\n"
        for one in (*OF_AIRFLOW, *OF_MLFLOW)
    ]
    return HEAD + "".join(rows)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
