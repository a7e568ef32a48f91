"""Correct what the API server accepts from tasks and from the web interface."""

import json
import sys
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

from stack_runtime.shared.patch_registry import Kind, Patch

CORE = "apache-airflow-core"
EXECUTION = "airflow.api_fastapi.execution_api.routes"
PUBLIC = "airflow.api_fastapi.core_api.routes.public"


def resolve_map_indexes(routes: Any) -> None:
    """Count the members of a mapped task group with the results of the run, for tasks after it."""
    from airflow.models.baseoperator import BaseOperator
    from airflow.models.expandinput import NotFullyPopulated

    def upstream_map_indexes(
        task: Any, ti_map_index: int, run_id: str = "", session: Any = None
    ) -> dict[str, int | list[int] | None]:
        if session is None:
            # The endpoint of 3.0.1 has both, but does not pass them.
            endpoint = sys._getframe(1).f_locals
            run_id, session = endpoint["ti"].run_id, endpoint["session"]
        own_group = task.get_closest_mapped_task_group()

        def indexes(upstream: Any) -> int | list[int] | None:
            group = upstream.get_closest_mapped_task_group()
            if group is None:
                return None
            if group == own_group:
                return ti_map_index
            try:
                return list(range(BaseOperator.get_mapped_ti_count(group, run_id, session=session)))
            except NotFullyPopulated:
                # The task that the group is mapped over failed or was skipped.
                return None

        return {upstream.task_id: indexes(upstream) for upstream in task.upstream_list}

    routes._get_upstream_map_indexes = upstream_map_indexes


def allow_slashes(router: str, parameter: str, routes: Any) -> None:
    """Let a parameter at the end of a router's paths contain slashes."""
    entries = getattr(routes, router).routes
    for route in entries:
        route.path = route.path.replace(f"{{{parameter}}}", f"{{{parameter}:path}}")
    # The first match wins, and such a parameter also matches the end of a longer path.
    entries.sort(key=lambda route: -len(route.path))


def accept_null(xcoms: Any) -> None:
    """Accept an XCom without a body, which is how a client sends None."""
    value_and_session = (None, None)
    xcoms.set_xcom.__defaults__ = (*value_and_session, *xcoms.set_xcom.__defaults__)


def unmask(new: Any, old: Any, redact: Callable[..., Any], name: str | None = None) -> Any:
    """Return `new` with the old values where it has the masks that Airflow shows instead."""
    if isinstance(new, dict) and isinstance(old, dict):
        return {key: unmask(value, old.get(key), redact, key) for key, value in new.items()}
    if isinstance(new, list) and isinstance(old, list) and len(new) == len(old):
        return [unmask(*pair, redact, name) for pair in zip(new, old, strict=True)]
    return old if new in ("***", redact(old, name)) else new


def keep_masked_values(connections: Any) -> None:
    """Keep the secrets of an edited connection that were only shown masked."""
    from airflow.sdk.execution_time.secrets_masker import redact

    update = connections.update_orm_from_pydantic

    def unmask_json(new: str, old: str | None) -> Any:
        try:
            return json.dumps(unmask(json.loads(new), json.loads(old or "{}"), redact))
        except ValueError:
            return unmask(new, old, redact)

    def update_unmasked(stored: Any, body: Any, update_mask: list[str] | None = None) -> None:
        # Setting a field of the body marks it as sent, so a field that was not sent is left alone.
        if body.password:
            body.password = unmask(body.password, stored.password, redact, "password")
        if body.extra:
            body.extra = unmask_json(body.extra, stored.extra)
        update(stored, body, update_mask)

    connections.update_orm_from_pydantic = update_unmasked


def _slashes(
    kind: str, module: str, router: str, parameter: str, *, upstream: str, fixed: str
) -> Patch:
    apply: Callable[[ModuleType], None] = partial(allow_slashes, router, parameter)
    return Patch(
        name=f"slashes-in-{kind}",
        module=module,
        needs=(f"{router}.routes",),
        distribution=CORE,
        versions=f">=3.0.1,<{fixed}",
        kind=Kind.CORRECTNESS,
        reason="A name with a slash can be created, but each later request for it answers 404.",
        upstream=upstream,
        delete_when=f"Airflow {fixed}",
        apply=apply,
    )


PATCHES = (
    Patch(
        name="resolve-map-indexes",
        module=f"{EXECUTION}.task_instances",
        needs=(
            "_get_upstream_map_indexes",
            "airflow.models.baseoperator:BaseOperator.get_mapped_ti_count",
            "airflow.models.expandinput:NotFullyPopulated",
        ),
        distribution=CORE,
        versions=">=3.0.1,<3.1",
        kind=Kind.CORRECTNESS,
        reason="A task after a task group that is mapped over a task's result never starts.",
        upstream="apache/airflow#51457, #54249, #57474",
        delete_when="Airflow 3.1; after a group that was skipped, 3.1.3",
        apply=resolve_map_indexes,
    ),
    Patch(
        name="accept-null-xcom",
        module=f"{EXECUTION}.xcoms",
        needs=("set_xcom",),
        distribution=CORE,
        versions=">=3.0.1,<3.1",
        kind=Kind.CORRECTNESS,
        reason="The API server refuses an XCom whose value is None.",
        upstream="apache/airflow#55080",
        delete_when="Airflow 3.1",
        apply=accept_null,
    ),
    Patch(
        name="keep-masked-values",
        module="airflow.api_fastapi.core_api.services.public.connections",
        needs=(
            "update_orm_from_pydantic",
            "airflow.sdk.execution_time.secrets_masker:redact",
        ),
        distribution=CORE,
        versions=">=3.0.1,<3.0.4",
        kind=Kind.CORRECTNESS,
        reason="Saving a connection in the web interface replaces its secrets with asterisks.",
        upstream="apache/airflow#53943",
        delete_when="Airflow 3.0.4",
        apply=keep_masked_values,
    ),
    _slashes(
        "xcom-keys-of-tasks", f"{EXECUTION}.xcoms", "router", "key",
        upstream="apache/airflow#58344", fixed="3.1.6",
    ),
    _slashes(
        "xcom-keys", f"{PUBLIC}.xcom", "xcom_router", "xcom_key",
        upstream="apache/airflow#58344", fixed="3.1.6",
    ),
    _slashes(
        "variable-keys-of-tasks", f"{EXECUTION}.variables", "router", "variable_key",
        upstream="apache/airflow#55324", fixed="3.1",
    ),
    _slashes(
        "variable-keys", f"{PUBLIC}.variables", "variables_router", "variable_key",
        upstream="apache/airflow#50841", fixed="3.0.2",
    ),
    _slashes(
        "pool-names", f"{PUBLIC}.pools", "pools_router", "pool_name",
        upstream="apache/airflow#53815", fixed="3.0.5",
    ),
)  # fmt: skip
