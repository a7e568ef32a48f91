"""Let a branch or short circuit skip all instances of a mapped task.

Airflow creates the instances at the start of a run if it knows their number. 3.0.1 then skips none
of them, because it looks for one without a map index.
"""

import sys
from typing import Any

from stack_runtime.shared.patch_registry import Kind, Patch

CORE = "apache-airflow-core"


def skip_all_instances(routes: Any) -> None:
    """Skip all instances of a task without a map index, except those that have started."""
    make_tuple, instance, states = routes.tuple_, routes.TI, routes.TaskInstanceState
    code = routes.ti_skip_downstream.__code__
    not_started = (states.SCHEDULED, states.QUEUED, states.UPSTREAM_FAILED)

    class ToSkip:
        @staticmethod
        def in_(pairs: list[tuple[str, int]]) -> Any:
            whole = [task_id for task_id, map_index in pairs if map_index == -1]
            exact = make_tuple(instance.task_id, instance.map_index).in_(pairs)
            waits = instance.state.is_(None) | instance.state.in_(not_started)
            return waits & (exact | instance.task_id.in_(whole))

    def tuple_(*columns: Any) -> Any:
        return ToSkip if sys._getframe(1).f_code is code else make_tuple(*columns)

    routes.tuple_ = tuple_


class Child:
    """A task instance that reads a parent's decision where the parent has stored it."""

    def __init__(self, ti: Any) -> None:
        self.ti = ti

    def __getattr__(self, name: str) -> Any:
        return getattr(self.ti, name)

    def xcom_pull(self, *, task_ids: str, **options: Any) -> Any:
        """Return an XCom of a task. A task that is not mapped has only one without an index."""
        if not self.ti.task.dag.get_task(task_ids).get_needs_expansion():
            options["map_indexes"] = -1
        return self.ti.xcom_pull(task_ids=task_ids, **options)


def find_decisions(dependency: Any) -> None:
    """Let a mapped task find the decision of a parent that is not mapped."""
    check = dependency.NotPreviouslySkippedDep._get_dep_statuses

    def statuses(self: Any, ti: Any, session: Any, dep_context: Any) -> Any:
        return check(self, Child(ti), session, dep_context)

    dependency.NotPreviouslySkippedDep._get_dep_statuses = statuses


PATCHES = (
    Patch(
        name="skip-all-instances",
        module="airflow.api_fastapi.execution_api.routes.task_instances",
        needs=("TI", "TaskInstanceState", "ti_skip_downstream.__code__", "tuple_"),
        distribution=CORE,
        versions=">=3.0.1,<3.2",
        kind=Kind.CORRECTNESS,
        reason="Mapped tasks run although a branch or short circuit skips them, and tasks that "
        "have already run are shown as skipped.",
        upstream="apache/airflow#59378 for the latter",
        delete_when="Airflow skips all instances of a mapped task",
        apply=skip_all_instances,
    ),
    Patch(
        name="find-decisions-of-branches",
        module="airflow.ti_deps.deps.not_previously_skipped_dep",
        needs=("NotPreviouslySkippedDep._get_dep_statuses",),
        distribution=CORE,
        versions=">=3.0.1,<3.2",
        kind=Kind.CORRECTNESS,
        reason="A mapped task that a branch or short circuit skips runs when it is cleared.",
        upstream="apache/airflow#62118",
        delete_when="Airflow 3.2, if no branch is in a mapped task group (#67265)",
        apply=find_decisions,
    ),
)
