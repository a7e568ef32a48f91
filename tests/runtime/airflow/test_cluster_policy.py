"""Test what the cluster policy applies: no values of variables in tracebacks."""

import importlib
import io
import sys

from tests.runtime.airflow.supervised import patched_supervisor


def test_tracebacks_show_no_values_of_variables():
    patched_supervisor()
    structlog = importlib.import_module("structlog.dev")
    key = "made-up"  # pragma: allowlist secret
    output = io.StringIO()
    for formatter in (structlog.rich_traceback, structlog.RichTracebackFormatter(show_locals=True)):
        try:
            raise ValueError(len(key))
        except ValueError:
            formatter(output, sys.exc_info())
    assert output.getvalue().count("ValueError") >= 2
    assert "made-up" not in output.getvalue().replace('key = "made-up"', "")
