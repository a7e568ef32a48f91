"""Secrets in files that git knows are found, and what was clean once is not searched again."""

import subprocess

import pytest

from checks import leaks

# Built here, so that this file has no secret in it.
KEY = "AKIA" + "Q7ZP2M9XK4T1VB6N"
TOKEN = "xox" + "b-123456789012-" + "Zk3Vb9Qw7Lp2"


@pytest.fixture
def folder(tmp_path):
    """An empty repository."""
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    return tmp_path


def write(folder, name, text):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(text, "utf-8")
    subprocess.run(["git", "add", "-f", name], cwd=folder, check=True)


@pytest.mark.parametrize(
    ("name", "line", "kind"),
    [
        ("a.py", f'key = "{KEY}"', "AWS Access Key"),
        ("a.md", f"the token is {TOKEN}", "Slack Token"),
        ("a.yaml", "password: " + "'tr0ub4dor&3'", "Secret Keyword"),
        ("a.in", "--index-url https://me:" + "tr0ub4dor@mirror.example/simple", "Basic Auth"),
        ("a.pem", "-----BEGIN " + "RSA PRIVATE KEY-----", "Private Key"),
    ],
)
def test_a_secret_is_told_with_file_line_kind_and_what_to_do(folder, capsys, name, line, kind):
    write(folder, name, f"first\n{line}\n")
    assert leaks.main(folder) == 1
    told = capsys.readouterr().out
    assert f"{name}:2: {kind}" in told
    assert "pragma: allowlist secret" in told


def test_the_secret_itself_is_not_printed(folder, capsys):
    write(folder, "a.py", f'key = "{KEY}"\n')
    leaks.main(folder)
    assert KEY not in capsys.readouterr().out


def test_what_only_looks_so_may_say_it(folder, capsys):
    write(folder, "a.py", f'key = "{KEY}"  # pragma: allowlist secret\n')
    assert leaks.main(folder) == 0
    assert capsys.readouterr().out == "leaks: 1 files, 1 of them new or changed\n"


def test_a_clean_file_is_searched_again_when_it_changed_and_a_bad_one_always(folder, capsys):
    write(folder, "a.py", "x = 1\n")
    assert [leaks.main(folder), leaks.main(folder)] == [0, 0]
    assert capsys.readouterr().out.endswith("leaks: 1 files, 0 of them new or changed\n")
    write(folder, "a.py", f'x = "{KEY}"\n')
    assert [leaks.main(folder), leaks.main(folder)] == [1, 1]


def test_what_was_clean_under_one_name_is_searched_under_another(folder, capsys):
    # Some searches depend on a file's kind.
    write(folder, "a.py", "x = 1\n")
    leaks.main(folder)
    write(folder, "b.yaml", "x = 1\n")
    leaks.main(folder)
    assert capsys.readouterr().out.endswith("leaks: 2 files, 1 of them new or changed\n")


def test_what_git_does_not_know_and_what_a_link_leads_to_is_left_alone(folder):
    (folder / ".env").write_text(f"KEY={KEY}\n")
    (folder / "stack").mkdir()
    (folder / "stack/.env").symlink_to("../.env")
    subprocess.run(["git", "add", "stack/.env"], cwd=folder, check=True)
    assert leaks.main(folder) == 0
