"""Test that files of Airflow's `export` and `import` are files of the user's machine."""

import stat

import pytest

from orchestration.commands import exchange, shell
from orchestration.engines import factory
from orchestration.engines.base import Service
from orchestration.errors import StackError

AIRFLOW = """#!/bin/sh
# Stands for Airflow: exports a fixed text, and prints what it imports.
for word in "$@"; do case "$word" in ./*) file=$word ;; esac; done
[ -z "$FAIL" ] || { echo "no database" >&2; exit 3; }
echo "airflow $*"
if [ "$2" = export ]; then printf '{"kept": "s3cr3t"}' >"$file"; else cat "$file"; fi
"""


@pytest.fixture
def engine(installed, engine, tmp_path, monkeypatch):
    """Provide an engine whose API server runs commands here, in another folder."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "airflow").write_text(AIRFLOW)
    (folder / "airflow").chmod(stat.S_IRWXU)
    engine.ps_result.append(Service("airflow-apiserver", "running", "healthy"))
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    engine.command_environments["airflow-apiserver"] = {
        "PATH": f"{folder}:/usr/bin:/bin",
        "TMPDIR": str(temporary),
    }
    monkeypatch.setattr(factory, "engine_for", lambda settings: engine)
    monkeypatch.chdir(tmp_path)
    yield engine
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "index"),
    [
        ("connections export saved.json", 2),
        ("connections export --file-format env saved", 4),
        ("connections import saved.json --overwrite", 2),
        ("variables import -a skip saved.json", 4),
        ("pools export saved.json", 2),
        ("connections export -", 0),
        ("connections export /dev/stdout", 0),
        ("connections export", 0),
        ("dags list", 0),
        ("export", 0),
        ("", 0),
    ],
)
def test_file_is_found_among_the_arguments(arguments, index):
    assert exchange.file_index(arguments.split()) == index


def test_export_writes_a_file_that_only_its_owner_can_read(project, engine, tmp_path, capsys):
    words = ["connections", "export", "a folder/saved.json", "--file-format", "json"]
    (tmp_path / "a folder").mkdir()
    assert shell.airflow_cli(project, words) == 0
    file = tmp_path / "a folder/saved.json"
    assert file.read_text() == '{"kept": "s3cr3t"}'
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err == "airflow connections export ./saved.json --file-format json\n"


def test_export_replaces_the_contents_of_a_file(project, engine, tmp_path):
    file = tmp_path / "saved.json"
    file.write_text("a longer text than the one that replaces it")
    file.chmod(0o640)
    assert shell.airflow_cli(project, ["variables", "export", str(file)]) == 0
    assert file.read_text() == '{"kept": "s3cr3t"}'
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


@pytest.mark.parametrize("content", [None, "kept"])
def test_failed_export_changes_no_file(project, engine, tmp_path, capsys, content):
    engine.command_environments["airflow-apiserver"]["FAIL"] = "yes"
    file = tmp_path / "saved.json"
    if content:
        file.write_text(content)
    assert shell.airflow_cli(project, ["variables", "export", "saved.json"]) == 3
    assert capsys.readouterr().err == "no database\n"
    assert (file.read_text() if file.exists() else None) == content


def test_import_reads_a_file_of_this_machine(project, engine, tmp_path, capsys):
    (tmp_path / "-saved.json").write_text("a variable\n")
    words = ["variables", "import", str(tmp_path / "-saved.json")]
    assert shell.airflow_cli(project, words) == 0
    assert capsys.readouterr().out == "airflow variables import ./-saved.json\na variable\n"


@pytest.mark.parametrize(
    ("action", "cause"),
    [("export", "no/saved.json cannot be written"), ("import", "no/saved.json cannot be read")],
)
def test_missing_folder_is_reported_before_airflow_runs(project, engine, capsys, action, cause):
    with pytest.raises(StackError, match=f"^{cause}: No such file or directory") as error:
        shell.airflow_cli(project, ["variables", action, "no/saved.json"])
    assert f"inv airflow -- variables {action} saved.json" in str(error.value)
    assert capsys.readouterr().out == ""


def test_export_to_a_device_writes_to_it(project, engine):
    assert shell.airflow_cli(project, ["variables", "export", "/dev/null"]) == 0
