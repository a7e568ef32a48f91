"""The fixtures of tests of the host tool."""

from tests.fixtures import *  # noqa: F403
