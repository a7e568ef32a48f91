"""Follow CONTRIBUTING's steps to add a DAG, a service and a setting in a copy."""

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


def block(language, topic):
    """Return the code block of a paragraph, such as `A DAG`."""
    part = SECTION.split(f"**{topic}**")[1].split("\n**")[0]
    return re.search(rf"```{language}\n(.*?)```", part, re.DOTALL)[1]


@pytest.fixture
def copy(tmp_path):
    """Return a copy of the working tree."""
    return copy_repository(tmp_path)


def insert(copy, name, after, addition):
    text = (copy / name).read_text("utf-8")
    assert text.count(after) == 1, f"{name} must contain {after!r} exactly once"
    (copy / name).write_text(text.replace(after, f"{after}{addition}"), "utf-8")


def failing(copy):
    """Return the names of the agreement tests that fail in the copy."""
    argv = [sys.executable, "-m", "pytest", "-p", "no:randomly", "-p", "no:cacheprovider", "-rf"]
    done = run(*argv, *AGREEMENT, cwd=copy)
    return set(re.findall(r"^FAILED \S+::(\w+)", done.stdout, re.MULTILINE))


def assert_compose_file_is_valid(copy):
    done = run(sys.executable, "-m", "nox", "-s", "lint", "--", "compose-file", cwd=copy)
    assert done.returncode == 0, done.stdout + done.stderr


def test_example_dag_has_no_findings(tmp_path):
    (tmp_path / "hello.py").write_text(block("python", "A DAG"))
    sources = static.read([tmp_path / "hello.py"], tmp_path)
    assert sources.findings + static.ruff_findings([tmp_path / "hello.py"]) == []
    assert [(dag.dag_id, set(dag.has.values())) for dag in sources.dags] == [("hello", {True})]


def test_each_missing_step_of_a_service_fails_a_test(copy):
    insert(copy, COMPOSE, "\nservices:\n", block("yaml", "A service"))
    assert_compose_file_is_valid(copy)
    only_on_docker = "test_compose_has_five_more_services"
    not_probed = "test_status_page_checks_every_other_running_service"
    assert failing(copy) == {only_on_docker, not_probed}
    insert(copy, "status/probes.py", '*broker, "postgres", "mlflow"', ', "status-hello"')
    assert failing(copy) == {only_on_docker}
    insert(
        copy,
        "orchestration/engines/standalone/engine.py",
        '\n    "mlflow",\n',
        '    "status-hello",\n',
    )
    no_program = "test_programs_are_the_services_and_the_watchdog"
    assert no_program in failing(copy)
    conf = copy / "orchestration/supervisord.conf"
    conf.write_text(conf.read_text("utf-8") + "\n" + block("ini", "A service"), "utf-8")
    assert failing(copy) == set()


def test_new_setting_is_read_by_both_engines(copy):
    example = copy / EXAMPLE
    example.write_text(f"{example.read_text('utf-8')}\n{block('sh', 'A setting')}", "utf-8")
    assert failing(copy) == {"test_settings_are_used_by_compose_or_have_a_reason"}
    insert(
        copy, COMPOSE, "\nx-airflow-environment: &airflow-environment\n", block("yaml", "A setting")
    )
    assert failing(copy) == set()
    assert_compose_file_is_valid(copy)
    assert load_or_draft(Project(copy, {}))["HELLO_GREETING"] == "hello"
    services = yaml.safe_load((copy / COMPOSE).read_text("utf-8"))["services"]
    environment = services["airflow-scheduler"]["environment"]
    assert environment["HELLO_GREETING"] == "${HELLO_GREETING:-hello}"


def test_tests_named_in_the_section_exist():
    for name in re.findall(r"`(tests/\S+\.py)`", SECTION):
        assert (ROOT / name).is_file(), name
    assert "while_a_task_runs" in (ROOT / "tests/e2e/test_changes.py").read_text("utf-8")
    assert (ROOT / "install/requirements.txt").exists()
