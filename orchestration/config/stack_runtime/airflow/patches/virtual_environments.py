"""Create the virtual environments of tasks with the Python that Airflow runs on.

uv ignores the `python` of Airflow's environment, because it looks for one outside of environments.
"""

import sys
from typing import Any

from stack_runtime.shared.patch_registry import Kind, Patch


def use_own_python(module: Any) -> None:
    """Pass uv the path of this Python unless the task asks for a version."""
    generate = module._generate_uv_cmd

    def with_own_python(folder: str, python: str, system_site_packages: bool) -> Any:
        path = sys.executable if python == "python" else python
        return generate(folder, path, system_site_packages)

    module._generate_uv_cmd = with_own_python


PATCH = Patch(
    name="use-own-python",
    module="airflow.providers.standard.utils.python_virtualenv",
    needs=("_generate_uv_cmd",),
    distribution="apache-airflow-providers-standard",
    versions=">=1.1,<1.22",
    kind=Kind.CORRECTNESS,
    reason="Tasks in virtual environments fail, or get another Python that uv finds.",
    upstream="none",
    delete_when="the provider passes uv the path of its Python",
    apply=use_own_python,
)
