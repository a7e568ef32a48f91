"""Test what a task gets from the process that it is forked from, in processes of their own."""

import os
import sys

import pytest

from tests.runtime.airflow.supervised import CONFIG
from tests.support.process import run

# A service forks a slot, the slot forks two tasks, and each task forks two processes.
SERVICE = """
import os, sys
from airflow import settings
from stack_runtime.airflow import preload
import numpy.random

def in_child(action):
    if child := os.fork():
        assert os.waitpid(child, 0)[1] == 0
    else:
        action()
        os._exit(0)

def show():
    print(numpy.random.random(), flush=True)

def task():
    show()
    numpy.random.seed(7)
    in_child(show)
    in_child(show)

def slot():
    in_child(task)
    in_child(task)

numpy.random.seed(1)
in_child(slot)
"""


@pytest.fixture(scope="module")
def numbers():
    """Return the first number of two tasks, each followed by those of its two processes."""
    environment = {**os.environ, "PYTHONPATH": str(CONFIG)}
    result = run(sys.executable, "-W", "ignore", "-c", SERVICE, env=environment)
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout.split()[-6:]


def test_tasks_have_random_numbers_of_their_own(numbers):
    assert numbers[0] != numbers[3]


def test_processes_of_tasks_keep_the_state_that_the_task_set(numbers):
    assert len({*numbers[1:3], *numbers[4:]}) == 1
