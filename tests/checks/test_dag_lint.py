"""Test the checks of DAG sources, which do not need Airflow."""

import zipfile
from pathlib import Path
from textwrap import dedent

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from checks.dag_lint import arguments, conventions, static
from checks.dag_lint.airflow_parse import Parsed, judge
from checks.dag_lint.findings import RULES, Finding, apply_waivers
from checks.dag_lint.import_time import Code
from checks.dag_lint.run import lint
from checks.dag_lint.static import dag_files
from orchestration.errors import StackError
from tests.support.repository import ROOT

DAG = "from airflow.sdk import DAG, dag, task, Variable\n"


@pytest.fixture
def rules(tmp_path):
    """Return a function that writes a source and returns its findings as (line, rule)."""

    def check(source, name="one.py"):
        (tmp_path / name).write_text(dedent(source))
        sources = static.read([tmp_path / name], tmp_path)
        return sorted((one.line, one.rule) for one in sources.findings)

    return check


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("import requests as r; r.post('x')", "top-level-network"),
        ("from requests import get; get('x')", "top-level-network"),
        ("import requests; s = requests.Session(); s.get('x')", "top-level-network"),
        ("import httpx\nwith httpx.Client() as c: c.get('x')", "top-level-network"),
        ("from urllib import request; request.urlopen('x')", "top-level-network"),
        ("import socket; socket.create_connection(('x', 1))", "top-level-network"),
        ("import boto3; boto3.client('s3').list_buckets()", "top-level-network"),
        ("import smtplib; smtplib.SMTP('x')", "top-level-network"),
        ("from airflow.models import Variable as V; V.get('x')", "top-level-database"),
        (
            "from airflow.hooks.base import BaseHook; BaseHook.get_connection('x')",
            "top-level-database",
        ),
        (
            "from airflow.providers.postgres.hooks.postgres import PostgresHook\n"
            "PostgresHook('x').get_records('y')",
            "top-level-database",
        ),
        ("import psycopg2; psycopg2.connect('x')", "top-level-database"),
        ("from os import system; system('x')", "top-level-process"),
        ("import subprocess as s; s.check_output(['x'])", "top-level-process"),
        ("from time import sleep; sleep(1)", "top-level-sleep"),
        ("open('x').read()", "top-level-file"),
        ("from pathlib import Path\nROOT = Path('a')\n(ROOT / 'b').read_text()", "top-level-file"),
        ("from pathlib import Path\nPath(__file__).parent.joinpath('b').open()", "top-level-file"),
        ("import glob; glob.glob('*')", "top-level-file"),
        ("import numpy", "heavy-import"),
        ("import sklearn.linear_model as m", "heavy-import"),
        ("from mlflow import MlflowClient", "heavy-import"),
    ],
)
def test_top_level_work_is_found_under_any_name(rules, line, rule):
    assert rule in [name for _, name in rules(line)]


@pytest.mark.parametrize(
    "where",
    [
        "if True:\n    {}",
        "try:\n    {}\nexcept OSError:\n    pass",
        "for _ in (1,):\n    {}",
        "class Kept:\n    {}",
        "VALUES = [{} for _ in (1,)]",
        "def early(value={}):\n    pass",
        "def called():\n    {}\n\n\ncalled()",
        "def inner():\n    {}\n\n\ndef outer():\n    inner()\n\n\nouter()",
        "@dag(schedule=None)\ndef one():\n    {}",
        "with DAG('x', schedule=None):\n    {}",
        "NAME: str = {}",
    ],
)
def test_code_that_runs_at_import_is_top_level(rules, where):
    line = where.format("Variable.get('x')")
    assert [rule for _, rule in rules(DAG + line)] == ["top-level-database"]


@pytest.mark.parametrize(
    "where",
    [
        "def never_called():\n    {}",
        "class Kept:\n    def method(self):\n        {}",
        "later = lambda: {}",
        "@task\ndef one():\n    {}\n\n\none()",
        "@task.bash\ndef one():\n    {}\n\n\none()",
        "@dag(schedule=None)\ndef one():\n    @task\n    def two():\n        {}\n\n    two()",
        "if __name__ == '__main__':\n    {}",
        "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    {}",
        "def given():\n    {}\n\n\nPythonOperator(task_id='x', python_callable=given)",
    ],
)
def test_code_that_runs_later_is_not_top_level(rules, where):
    assert rules(DAG + where.format("Variable.get('x')")) == []


def test_read_includes_only_imported_modules(rules, tmp_path):
    package = tmp_path / "lib"
    package.mkdir()
    (package / "__init__.py").write_text("import requests\n\nrequests.get('x')\n")
    (package / "used.py").write_text("import subprocess\n\nsubprocess.run('x')\n")
    (package / "lonely.py").write_text("import requests\n\nrequests.get('x')\n")
    assert rules(DAG + "from lib.used import name\n") == [(3, "top-level-process")]
    assert rules(DAG + "import lib\n") == [(3, "top-level-network")]
    assert rules(DAG + "def one():\n    from lib import used\n") == []


@pytest.mark.parametrize(
    ("start", "moves"),
    [
        ("datetime.now()", True),
        ("datetime.utcnow() - timedelta(days=1)", True),
        ("pendulum.today('UTC').add(days=-2)", True),
        ("pendulum.now().start_of('day')", True),
        ("datetime(2025, 1, 1)", False),
        ("pendulum.datetime(2025, 1, 1, tz='UTC')", False),
        ("datetime.fromisoformat('2025-01-01')", False),
        ("START", False),
    ],
)
def test_moving_start_date_is_found_and_no_fixed_one(rules, start, moves):
    head = (
        DAG + "from datetime import datetime, timedelta\nimport pendulum\nfrom lib import START\n"
    )
    direct = rules(f"{head}DAG('x', schedule=None, start_date={start})\n")
    named = rules(f"{head}FROM = {start}\nDAG('x', schedule=None, start_date=FROM)\n")
    default = rules(f"{head}DAG('x', default_args={{'start_date': {start}}})\n")
    expected = ["moving-start-date"] * moves
    assert [[rule for _, rule in rows] for rows in (direct, named, default)] == [expected] * 3


def dags(tmp_path, source):
    (tmp_path / "one.py").write_text(DAG + dedent(source))
    return {dag.dag_id: dict(dag.has) for dag in static.read([tmp_path / "one.py"], tmp_path).dags}


def test_dags_owner_tags_and_retries_of_the_source(tmp_path):
    assert dags(tmp_path, "DAG('x')") == {"x": {"tags": False, "owner": False, "retries": False}}
    source = """
        ARGS = {'owner': 'a', 'retries': 0}
        DAG('x', default_args=ARGS, tags=['t'])
        DAG(dag_id='y', default_args=dict(owner='a'), tags=[])
    """
    assert dags(tmp_path, source) == {
        "x": {"tags": True, "owner": True, "retries": True},
        "y": {"tags": False, "owner": True, "retries": False},
    }


@pytest.mark.parametrize(
    "source",
    [
        "from lib import ARGS, TAGS\nDAG('x', default_args=ARGS, tags=TAGS)",
        "from lib import MORE\nDAG('x', **MORE)",
        "from lib import MORE, TAGS\nDAG('x', default_args={**MORE}, tags=TAGS)",
        "from lib import T\nwith DAG('x', tags=T):\n    Some(task_id='a', owner='b', retries=1)",
    ],
)
def test_dags_unknown_values_are_left_to_airflow(tmp_path, source):
    assert dags(tmp_path, source) == {"x": {"tags": None, "owner": None, "retries": None}}


def test_duplicates_reports_the_second_dag_with_an_id(tmp_path):
    (tmp_path / "a.py").write_text(DAG + "@dag\ndef same():\n    pass\n")
    (tmp_path / "b.py").write_text(DAG + "NAME = 'same'\nDAG(NAME, schedule=None)\n")
    (tmp_path / "c.py").write_text(DAG + "DAG(f'{1}same')\n")
    sources = static.read(sorted(tmp_path.glob("*.py")), tmp_path)
    (one,) = conventions.duplicates(sources.dags)
    assert (one.path.name, one.line, one.rule) == ("b.py", 3, "duplicate-dag-id")
    assert "same is already defined in a.py:2" in one.why


ISOLATED = "system_site_packages=False"
TASK = "from airflow.sdk import task\n"
OPERATOR = "from airflow.providers.standard.operators.python import PythonVirtualenvOperator as P\n"


@pytest.mark.parametrize(
    ("line", "count"),
    [
        (f"{TASK}task.virtualenv(requirements=['--pre', 'a'], {ISOLATED})", 1),
        (f"{TASK}task.branch_virtualenv(requirements='a\\n-i x # c', {ISOLATED})", 1),
        (f"{OPERATOR}P(task_id='x', requirements=('git+https://x/y',), {ISOLATED})", 1),
        (f"{OPERATOR}P.partial(requirements=['./a.whl'], {ISOLATED})", 1),
        (f"{TASK}task.virtualenv(requirements=['a', 'b @ git+https://x', '# c'], {ISOLATED})", 0),
        (f"{TASK}task.virtualenv(requirements=['{{{{ var.value.x }}}}'], {ISOLATED})", 0),
        (f"{TASK}task.virtualenv(requirements=['--pre'])", 0),
        (f"{TASK}task.virtualenv({ISOLATED})", 0),
        (f"from lib import R\n{TASK}task.virtualenv(requirements=R, {ISOLATED})", 0),
        (f"import other\nother.virtualenv(requirements=['--pre'], {ISOLATED})", 0),
    ],
)
def test_invalid_requirements_of_isolated_environments(rules, line, count):
    assert [rule for _, rule in rules(line)] == ["invalid-requirement"] * count


@pytest.mark.parametrize(
    ("command", "found"),
    [("nohup x &", True), ("setsid -f x", True), ("x & y & wait", False), ("NOHUP=1 x", False)],
)
def test_background_programs_of_bash_commands(rules, command, found):
    head = "from airflow.providers.standard.operators.bash import BashOperator as B\n"
    for call in ("B(task_id='x', bash_command=C)", "B.partial(task_id='x', bash_command=C)"):
        found_rules = [rule for _, rule in rules(f"{head}C = {command!r}\n{call}")]
        assert found_rules == ["background-program"] * found


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        ("fail_when_dag_is_paused=True, conf='{{ dag_run.conf }}'", 2),
        ("fail_when_dag_is_paused=False, conf={'day': '{{ ds }}'}", 0),
    ],
)
def test_triggers_that_fail(rules, arguments, count):
    line = "from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator\n"
    line += f"TriggerDagRunOperator(task_id='x', trigger_dag_id='y', {arguments})"
    assert [rule for _, rule in rules(line)] == ["failing-trigger"] * count


WORKER = "services:\n  airflow-worker: {command: [x, celery, worker%s]}\n"


@pytest.mark.parametrize(
    ("override", "queues"),
    [
        (None, {"default"}),
        ("", {"default"}),
        ("services:\n  airflow-worker: {mem_limit: 1g}\n", {"default"}),
        (WORKER % ", --queues, 'default,gpu'", {"default", "gpu"}),
        (WORKER % ", --queues=gpu", {"gpu"}),
        (
            "services:\n  worker-gpu: {command: !override celery worker -q gpu}\n",
            {"default", "gpu"},
        ),
        ("services:\n  airflow-worker: {command: !reset null}\n", {"default"}),
    ],
)
def test_served_queues_are_those_of_all_workers(tmp_path, override, queues):
    (tmp_path / "docker-compose.yaml").write_text(WORKER % "" + "  other: {}\n")
    if override is not None:
        (tmp_path / "docker-compose.override.yaml").write_text(override)
    assert arguments.served_queues(tmp_path) == queues


def test_documented_worker_of_another_queue_differs_in_the_queues_only(tmp_path):
    section = (ROOT / "docs/customizing.md").read_text("utf-8").split("### Queues\n")[1]
    override = section.split("```yaml\n")[1].split("```")[0]
    original = (ROOT / "orchestration/docker-compose.yaml").read_text("utf-8")
    (tmp_path / "docker-compose.yaml").write_text(original)
    assert arguments.served_queues(tmp_path) == {"default"}
    (tmp_path / "docker-compose.override.yaml").write_text(override)
    assert arguments.served_queues(tmp_path) == {"default", "gpu"}
    commands = [
        yaml.safe_load(text)["services"]["airflow-worker"]["command"]
        for text in (original, override)
    ]
    assert commands[1] == [*commands[0], "--queues", "default,gpu"]


def test_unserved_queue_is_found_where_it_is_named(tmp_path):
    path = tmp_path / "one.py"
    path.write_text(
        f"{DAG}ARGS = {{'queue': 'gpu'}}\nNAME = 'big'\n\ntask(queue=NAME)\ntask(queue=NAME)\n"
    )
    lines = static.read([path], tmp_path).queues
    dags = [{"dag_id": "x", "queues": ["big", "default", "far", "gpu"]}, {"dag_id": "y"}]
    found = list(arguments.unserved_queues(path, dags, lines, {"default"}))
    assert [(one.line, one.rule) for one in found] == [
        (5, "unserved-queue"),
        (1, "unserved-queue"),
        (2, "unserved-queue"),
    ]
    assert found[0].why == "DAG x has tasks for the queue big, which no worker serves"


def test_waiver_needs_rule_line_and_reason(tmp_path):
    path = tmp_path / "x.py"
    text = """\
        one  # dag_lint: ignore[rule] a reason
        two  # dag_lint: ignore[rule]
        # dag_lint: ignore[other, rule] the line below
        three
        four  # dag_lint: ignore[other] another rule
    """
    findings = [Finding(path, line, "rule", "why") for line in (1, 2, 4, 5)]
    remaining = apply_waivers(findings, {path: dedent(text)})
    assert sorted((one.line, one.rule) for one in remaining) == [
        (2, "rule"),
        (2, "waiver-without-reason"),
        (5, "rule"),
        (5, "unused-waiver"),
    ]


def test_dag_files_are_those_that_airflow_selects(tmp_path):
    team = tmp_path / "team"
    team.mkdir()
    expected = [tmp_path / "a.py", team / "b.py"]
    for path in [*expected, tmp_path / "ignored.py", team / "draft_c.py", team / "notes.txt"]:
        path.write_text("# an Airflow DAG\n")
    (tmp_path / "helper.py").write_text("X = 1\n")
    (tmp_path / ".airflowignore").write_text("# comment\nignored.py\n")
    (team / ".airflowignore").write_text("draft_*\n!draft_c.pyc\n")
    with zipfile.ZipFile(tmp_path / "packed.zip", "w") as packed:
        packed.writestr("d.py", "# airflow dag")
    (tmp_path / "broken.zip").write_text("no zip, but airflow dag")
    assert dag_files(tmp_path) == sorted([*expected, tmp_path / "packed.zip"])
    assert dag_files(tmp_path / "helper.py") == [tmp_path / "helper.py"]


def test_lint_folder_without_dag_files_raises(tmp_path):
    with pytest.raises(StackError, match=r"does not exist\.\nRun: nox -s dag_lint -- FOLDER"):
        dag_files(tmp_path / "nowhere")
    with pytest.raises(StackError, match=r"has no DAG file"):
        lint(tmp_path, None, limit=1)


def test_each_rule_has_a_meaning_and_a_fix():
    assert all(rule.means and rule.fix for rule in RULES.values())


def test_ruff_rules_are_errors_only_for_removed_names(tmp_path):
    levels = {code: Finding(tmp_path, 1, code, "why").error for code in ("AIR301", "AIR311")}
    assert levels == {"AIR301": True, "AIR311": False}
    assert "ruff rule AIR311" in Finding(tmp_path, 1, "AIR311", "why").as_text(tmp_path)


def test_ruff_findings_ignores_noqa_comments(tmp_path):
    path = tmp_path / "old.py"
    path.write_text("from airflow.models import Variable  # noqa: AIR311\nVariable.get\n")
    assert [one.rule for one in static.ruff_findings([path])] == ["AIR311"]
    path.write_text("def broken(:\n")
    assert static.ruff_findings([path]) == []


def test_judge_import_error_is_at_last_line_of_the_file(tmp_path):
    path = tmp_path / "x.py"
    error = f'  File "{path}", line 3\n  File "{path}", line 7\n  File "/lib", line 9\nError: why\n'
    answer = {"seconds": 0.1, "dags": [], "errors": [error], "work": []}
    assert judge(path, answer) == Parsed(
        path, 0.1, [], [Finding(path, 7, "import-error", "Error: why")]
    )


@given(st.text())
def test_findings_accepts_any_text(text):
    assert isinstance(list(static.findings(Code(Path("x.py"), text))), list)


@pytest.mark.parametrize(
    ("error", "fix"),
    [
        ("ModuleNotFoundError: No module named 'lightgbm'", "install/requirements.txt"),
        ("ModuleNotFoundError: No module named 'include'", "put the module into include/"),
        ("ModuleNotFoundError: No module named 'include.sql'", "put the module into include/"),
        ("ModuleNotFoundError: No module named 'flows.load'", "remove the prefix flows"),
        ("OSError: libgomp.so.1: cannot open shared object file: No such file", "libgomp1"),
    ],
)
def test_import_error_gets_the_next_step_of_its_kind(tmp_path, error, fix):
    answer = {"seconds": 0.1, "dags": [], "errors": [f"Traceback …\n{error}\n"], "work": []}
    (finding,) = judge(tmp_path / "flows" / "one.py", answer).findings
    assert (finding.rule, finding.why) == ("import-error", error)
    assert fix in finding.fix
    assert ("requirements.txt" in finding.fix) == ("lightgbm" in error)


def test_ruff_finding_shows_the_replacement(tmp_path):
    file = tmp_path / "one.py"
    file.write_text("from airflow.models import Variable\n\nprint(Variable)\n")
    (finding,) = static.ruff_findings([file])
    assert finding.rule == "AIR311"
    assert "`airflow.sdk`" in finding.fix
    assert "see ruff rule" not in finding.as_text(tmp_path)


def test_left_out_are_python_files_without_both_words(tmp_path):
    (tmp_path / "one.py").write_text(DAG)
    (tmp_path / "helper.py").write_text("VALUE = 1\n")
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "ignored.py").write_text("")
    (tmp_path / ".airflowignore").write_text("ignored.py\n")
    assert static.left_out(tmp_path) == [tmp_path / "helper.py"]
    assert static.left_out(tmp_path / "one.py") == []


def test_sources_of_include_are_read(tmp_path):
    (tmp_path / "dags").mkdir()
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "rates.py").write_text("import requests\nrequests.get('x')\n")
    file = tmp_path / "dags" / "one.py"
    file.write_text("from include.rates import load\n")
    sources = static.read([file], tmp_path / "dags")
    assert [(one.path.name, one.rule) for one in sources.findings] == [
        ("rates.py", "top-level-network")
    ]
