"""Test what services need against the Compose file, and the order that follows from it."""

import yaml

from orchestration.engines.base import PROXY
from orchestration.health.dependencies import NEEDS, depth
from tests.support.repository import ROOT

COMPOSE = yaml.safe_load((ROOT / "orchestration/docker-compose.yaml").read_text("utf-8"))
SERVICES = COMPOSE["services"]


def test_needs_has_the_dependencies_of_the_compose_file():
    for name, body in SERVICES.items():
        assert set(body.get("depends_on", ())) <= set(NEEDS.get(name, ())), name


def test_needs_names_every_service():
    assert {*NEEDS, *(name for needs in NEEDS.values() for name in needs)} == set(SERVICES)


def test_depth_grows_along_the_chain_of_needs():
    chain = ["postgres", "airflow-init", "airflow-apiserver", "airflow-worker"]
    assert [depth(name) for name in chain] == [0, 1, 2, 3]
    assert all(depth(need) < depth(name) for name, needs in NEEDS.items() for need in needs)
    assert depth(PROXY) > depth("mlflow")
    assert depth("a-service-of-the-user") == 0
