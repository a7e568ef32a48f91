"""How to add a DAG, a service, a setting: CONTRIBUTING's steps, walked in a copy."""

import re
import sys

import pytest
import yaml

from checks.dag_lint import static
from orchestration.host.drafts import load_or_draft
from orchestration.project import Project
from tests.support.process import run
from tests.support.repository import ROOT, copy_repository

SECTION = (ROOT / "CONTRIBUTING.md").read_text("utf-8").split("## How to add")[1].split("\n## ")[0]
COMPOSE, EXAMPLE = "orchestration/docker-compose.yaml", ".env.example"
AGREEMENT = [
    "tests/contracts/test_agreement.py",
    "tests/contracts/test_supervisord_conf.py",
]


def block(language, of):
    """The block of code of a paragraph: a DAG, a service, a setting."""
    part = SECTION.split(f"**{of}**")[1].split("\n**")[0]
    return re.search(rf"```{language}\n(.*?)```", part, re.DOTALL)[1]


@pytest.fixture
def copy(tmp_path):
    """What git knows of the repository, as it is now."""
    return copy_repository(tmp_path)


def put(copy, name, after, added):
    text = (copy / name).read_text("utf-8")
    assert text.count(after) == 1, f"{name} has no single {after!r} any more"
    (copy / name).write_text(text.replace(after, f"{after}{added}"), "utf-8")


def failing(copy):
    """The tests by which the artifacts agree that fail in the copy."""
    argv = [sys.executable, "-m", "pytest", "-p", "no:randomly", "-p", "no:cacheprovider", "-rf"]
    done = run(*argv, *AGREEMENT, cwd=copy)
    return set(re.findall(r"^FAILED \S+::(\w+)", done.stdout, re.MULTILINE))


def compose_reads(copy):
    done = run(sys.executable, "-m", "nox", "-s", "lint", "--", "compose-file", cwd=copy)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dag_has_nothing_to_mend(tmp_path):
    (tmp_path / "hello.py").write_text(block("python", "A DAG"))
    read = static.read([tmp_path / "hello.py"], tmp_path)
    assert read.findings + static.airflows_own([tmp_path / "hello.py"]) == []
    assert [(dag.dag_id, set(dag.has.values())) for dag in read.dags] == [("hello", {True})]


def test_a_service_is_complete_when_all_its_steps_are_done_and_what_is_missing_is_named(copy):
    put(copy, COMPOSE, "\nservices:\n", block("yaml", "A service"))
    compose_reads(copy)
    on_docker_alone = "test_compose_has_the_same_services_and_five_more"
    not_asked = "test_the_status_page_judges_every_other_service_that_runs"
    assert failing(copy) == {on_docker_alone, not_asked}
    put(copy, "status/probes.py", '*broker, "postgres", "mlflow"', ', "status-hello"')
    assert failing(copy) == {on_docker_alone}
    put(
        copy,
        "orchestration/engines/standalone/engine.py",
        '\n    "mlflow",\n',
        '    "status-hello",\n',
    )
    without_program = "test_every_service_has_a_program_and_besides_there_is_the_watchdog"
    assert without_program in failing(copy)
    conf = copy / "orchestration/supervisord.conf"
    conf.write_text(conf.read_text("utf-8") + "\n" + block("ini", "A service"), "utf-8")
    assert failing(copy) == set()


def test_a_setting_is_read_by_both_engines_and_said_once(copy):
    example = copy / EXAMPLE
    example.write_text(f"{example.read_text('utf-8')}\n{block('sh', 'A setting')}", "utf-8")
    assert failing(copy) == {"test_every_setting_is_used_by_compose_or_listed_with_its_reason"}
    put(
        copy, COMPOSE, "\nx-airflow-environment: &airflow-environment\n", block("yaml", "A setting")
    )
    assert failing(copy) == set()
    compose_reads(copy)
    assert load_or_draft(Project(copy, {}))["HELLO_GREETING"] == "hello"
    services = yaml.safe_load((copy / COMPOSE).read_text("utf-8"))["services"]
    environment = services["airflow-scheduler"]["environment"]
    assert environment["HELLO_GREETING"] == "${HELLO_GREETING:-hello}"


def test_the_tests_that_are_named_as_walks_exist():
    for name in re.findall(r"`(tests/\S+\.py)`", SECTION):
        assert (ROOT / name).is_file(), name
    assert "while_a_task_runs" in (ROOT / "tests/e2e/test_changes.py").read_text("utf-8")
    assert (ROOT / "install/requirements.txt").exists()
