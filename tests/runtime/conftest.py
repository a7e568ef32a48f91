"""Use the fixtures of the host tool's tests."""

from tests.fixtures import *  # noqa: F403
