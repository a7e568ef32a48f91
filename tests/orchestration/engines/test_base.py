"""The choice of the engine, and that an engine is what the Protocol says."""

import inspect

import pytest

from orchestration.engines.base import IMAGES, Engine, Service, check_service, image_of
from orchestration.engines.docker.engine import DockerEngine
from orchestration.engines.factory import engine_for
from orchestration.engines.standalone.engine import StandaloneEngine
from orchestration.errors import StackError

VERBS = [name for name, _ in inspect.getmembers(Engine, inspect.isfunction) if name[0] != "_"]


def test_docker_is_chosen_without_asking_it_anything(make_settings, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    assert isinstance(engine_for(make_settings(STACK_ENGINE="docker")), DockerEngine)


def test_standalone_is_chosen_without_starting_anything(make_settings):
    assert isinstance(engine_for(make_settings(STACK_ENGINE="standalone")), StandaloneEngine)


def test_an_engine_that_is_not_decided_is_refused_with_the_next_command(make_settings):
    with pytest.raises(StackError, match=r"STACK_ENGINE=auto(.|\n)*inv install"):
        engine_for(make_settings(STACK_ENGINE="auto"))


def test_the_protocol_has_verbs():
    assert {"up", "down", "ps", "logs", "build", "replace", "restart", "run"} <= set(VERBS)


@pytest.mark.parametrize("kind", [DockerEngine, StandaloneEngine])
@pytest.mark.parametrize("verb", VERBS)
def test_every_engine_honours_every_verb_of_the_protocol(kind, verb):
    # The protocol can name itself only in quotes.
    asked, honoured = (inspect.signature(getattr(of, verb), eval_str=True) for of in (Engine, kind))
    assert honoured == asked


@pytest.mark.parametrize("verb", VERBS)
def test_the_engine_of_the_tests_honours_it_too(engine, verb):
    asked = inspect.signature(getattr(Engine, verb)).parameters
    assert list(inspect.signature(getattr(engine, verb)).parameters) == list(asked)[1:]


def test_one_shots_are_known_by_name():
    assert Service("airflow-init", "exited").one_shot
    assert Service("mlflow-migrate", "exited").one_shot
    assert not Service("airflow-worker", "running").one_shot


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
def test_each_service_runs_from_its_image(service, image):
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
def test_a_service_that_is_not_meant_is_refused_with_what_it_is(engine, name, why):
    engine.listed.append(Service("mlflow-migrate", "exited"))
    with pytest.raises(StackError) as refused:
        check_service(engine, name, ["mlflow", "status"])
    assert str(refused.value) == f"{name} {why}\nUse one of: mlflow, status"


def test_a_service_that_is_meant_is_not_refused(engine):
    check_service(engine, "status", ["mlflow", "status"])
