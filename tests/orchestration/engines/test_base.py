"""The choice of the engine, and that every engine implements the protocol."""

import inspect

import pytest

from orchestration.engines.base import IMAGES, Engine, Service, check_service, image_of
from orchestration.engines.docker.engine import DockerEngine
from orchestration.engines.factory import engine_for
from orchestration.engines.standalone.engine import StandaloneEngine
from orchestration.errors import StackError

METHODS = [name for name, _ in inspect.getmembers(Engine, inspect.isfunction) if name[0] != "_"]


def test_engine_for_docker_needs_no_running_engine(make_settings, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    assert isinstance(engine_for(make_settings(STACK_ENGINE="docker")), DockerEngine)


def test_engine_for_standalone_starts_nothing(make_settings):
    assert isinstance(engine_for(make_settings(STACK_ENGINE="standalone")), StandaloneEngine)


def test_engine_for_auto_is_refused_with_the_next_command(make_settings):
    with pytest.raises(StackError, match=r"STACK_ENGINE=auto(.|\n)*inv install"):
        engine_for(make_settings(STACK_ENGINE="auto"))


def test_methods_of_the_protocol_are_found():
    assert {"up", "down", "ps", "logs", "build", "replace", "restart", "run"} <= set(METHODS)


@pytest.mark.parametrize("kind", [DockerEngine, StandaloneEngine])
@pytest.mark.parametrize("method", METHODS)
def test_engine_has_the_signatures_of_the_protocol(kind, method):
    # The protocol refers to itself in quotes.
    expected, actual = (
        inspect.signature(getattr(owner, method), eval_str=True) for owner in (Engine, kind)
    )
    assert actual == expected


@pytest.mark.parametrize("method", METHODS)
def test_fake_engine_has_the_parameters_of_the_protocol(engine, method):
    expected = inspect.signature(getattr(Engine, method)).parameters
    assert list(inspect.signature(getattr(engine, method)).parameters) == list(expected)[1:]


def test_service_is_an_init_job_by_name():
    assert Service("airflow-init", "exited").is_init_job
    assert Service("mlflow-migrate", "exited").is_init_job
    assert not Service("airflow-worker", "running").is_init_job


@pytest.mark.parametrize(
    ("service", "image"),
    [
        ("airflow-init", "airflow"),
        ("airflow-dag-processor", "airflow"),
        ("mlflow", "mlflow"),
        ("mlflow-migrate", "mlflow"),
        ("status", "status"),
        ("postgres", ""),
        ("redis", ""),
        ("statusquo", ""),
    ],
)
def test_image_of_each_service(service, image):
    assert image_of(service) == image
    assert not image or image in IMAGES


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("postgres", "is not built here."),
        ("mlflow-migrate", "runs once, as part of inv up."),
        ("radis", "is not a service."),
        ("", "is not a service."),
    ],
)
def test_check_service_refuses_others_with_the_reason(engine, name, why):
    engine.ps_result.append(Service("mlflow-migrate", "exited"))
    with pytest.raises(StackError) as error:
        check_service(engine, name, ["mlflow", "status"])
    assert str(error.value) == f"{name} {why}\nUse one of: mlflow, status"


def test_check_service_accepts_an_allowed_service(engine):
    check_service(engine, "status", ["mlflow", "status"])
