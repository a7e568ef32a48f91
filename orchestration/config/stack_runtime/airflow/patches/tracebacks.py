"""Hide the values of variables from tracebacks in logs."""

from typing import Any

from stack_runtime.shared.patch_registry import Kind, Patch


def hide_values(dev: Any) -> None:
    """Keep values out of structlog's colored tracebacks, even if a caller requests them."""
    dev.RichTracebackFormatter.show_locals = property(
        lambda formatter: False, lambda formatter, value: None
    )


PATCH = Patch(
    name="hide-values-in-tracebacks",
    module="structlog.dev",
    needs=("RichTracebackFormatter.show_locals",),
    distribution="structlog",
    versions=">=25.1,<27",
    kind=Kind.CORRECTNESS,
    reason="Anybody who sends a wrong token makes the API server write its signing key to its log.",
    upstream="none",
    delete_when="Airflow configures structlog without values of variables",
    apply=hide_values,
)
