"""Test `inv accounts` with a fake MLflow and a fake module of Airflow."""

import io
import json
import re

import pytest

from orchestration.clients import airflow_accounts
from orchestration.commands import accounts
from orchestration.commands.accounts import Options
from orchestration.errors import StackError

OLD, NEW = "/api/2.0/mlflow", "/api/3.0/mlflow"
GIVEN = "a password of twelve"
# Records the request and answers with the accounts in a file.
SCRIPT = """
import json, sys
text = sys.stdin.read()
open({requests!r}, "a").write(text + "\\n")
if json.loads(text)["action"] in {refused!r}:
    sys.exit("Airflow refused the account.")
print(json.dumps({{"accounts": {accounts!r}}}))
"""


class FakeMlflow:
    """Answer the API of accounts and roles like MLflow, and keep both."""

    def __init__(self, web):
        self.web, self.users, self.roles, self.passwords = web, {}, {}, {}
        self.users |= {"admin": [], "worker": [], "status": []}
        web.answers |= {
            f"GET {OLD}/users/list": self.list_users,
            f"POST {OLD}/users/create": self.create,
            f"PATCH {OLD}/users/update-password": self.create,
            f"DELETE {OLD}/users/delete": self.delete,
            f"GET {NEW}/roles/list": self.list_roles,
            f"POST {NEW}/roles/create": self.create_role,
            f"GET {NEW}/roles/permissions/list": self.permissions,
            f"POST {NEW}/roles/permissions/add": self.permit,
            f"POST {NEW}/roles/assign": self.assign,
            f"DELETE {NEW}/roles/unassign": self.unassign,
        }

    @property
    def body(self):
        return self.web.requests[-1].body

    def list_users(self, handler):
        users = [
            {"username": name, "roles": [{"name": role} for role in roles]}
            for name, roles in self.users.items()
        ]
        handler.reply(200, {"users": users})

    def create(self, handler):
        self.users.setdefault(self.body["username"], [])
        self.passwords[self.body["username"]] = self.body["password"]
        handler.reply(200, {})

    def delete(self, handler):
        del self.users[self.body["username"]]
        handler.reply(200, {})

    def list_roles(self, handler):
        roles = [{"id": number, "name": name} for number, name in enumerate(self.roles)]
        handler.reply(200, {"roles": roles})

    def create_role(self, handler):
        self.roles[self.body["name"]] = {}
        handler.reply(200, {"role": {"id": len(self.roles) - 1}})

    def permissions(self, handler):
        number = int(self.web.requests[-1].query["role_id"][0])
        granted = [
            {"resource_type": kind, "resource_pattern": "*", "permission": permission}
            for kind, permission in self.role(number).items()
        ]
        handler.reply(200, {"role_permissions": granted})

    def permit(self, handler):
        assert self.body["resource_pattern"] == "*"
        self.role(self.body["role_id"])[self.body["resource_type"]] = self.body["permission"]
        handler.reply(200, {})

    def role(self, number):
        return list(self.roles.values())[number]

    def assign(self, handler):
        self.users[self.body["username"]].append(list(self.roles)[self.body["role_id"]])
        handler.reply(200, {})

    def unassign(self, handler):
        self.users[self.body["username"]].remove(list(self.roles)[self.body["role_id"]])
        handler.reply(200, {})


@pytest.fixture
def mlflow(web, monkeypatch, lived_in):
    monkeypatch.setenv("MLFLOW_PORT", str(web.port))
    return FakeMlflow(web)


@pytest.fixture
def airflow(tmp_path, monkeypatch):
    """Return a function that sets Airflow's accounts and returns the requests so far."""
    file, script = tmp_path / "requests", tmp_path / "airflow_accounts.py"

    def serve(refused=(), **existing):
        script.write_text(SCRIPT.format(requests=str(file), accounts=existing, refused=refused))
        monkeypatch.setattr(
            airflow_accounts, "runtime_module", lambda name: ("python", str(script))
        )
        lines = file.read_text().splitlines() if file.exists() else []
        return [json.loads(line) for line in lines]

    return serve


@pytest.fixture
def inv(project, mlflow, capsys):
    """Run `inv accounts` and return its output."""

    def run(*add, **options):
        accounts.run(project, Options(*add, **options))
        return capsys.readouterr().out

    return run


def test_add_creates_a_reader_and_prints_its_password_once(inv, mlflow):
    output = inv("ada")
    assert mlflow.users["ada"] == ["reader"]
    readable = dict.fromkeys(("experiment", "registered_model", "prompt"), "READ")
    assert mlflow.roles == {"reader": readable}
    [password] = re.findall(r"shown only now: (\S+)", output)
    assert password == mlflow.passwords["ada"]
    assert len(password) >= accounts.MIN_PASSWORD_LENGTH
    assert password not in inv()


def test_add_existing_account_changes_the_role_and_keeps_the_password(inv, mlflow):
    inv("ada")
    password = mlflow.passwords["ada"]
    output = inv("ada", role="writer")
    assert mlflow.users["ada"] == ["writer"]
    assert mlflow.passwords["ada"] == password
    assert "shown only now" not in output
    inv("ada")
    assert mlflow.users["ada"] == ["writer"]


def test_password_is_read_from_standard_input(inv, mlflow, monkeypatch):
    for given in (GIVEN, f"{GIVEN} again"):
        monkeypatch.setattr("sys.stdin", io.StringIO(f"{given}\n"))
        assert given not in inv("ada", password=True)
        assert mlflow.passwords["ada"] == given


@pytest.mark.parametrize("given", ["short", "", "x" * 129, "twelve letters é"])
def test_unusable_password_changes_nothing(inv, mlflow, monkeypatch, given):
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{given}\n"))
    with pytest.raises(StackError, match="12 to 128 characters"):
        inv("ada", password=True)
    assert "ada" not in mlflow.users


def test_list_shows_accounts_of_people_and_their_roles(inv, mlflow):
    assert "Run: inv accounts --add NAME" in inv()
    mlflow.users |= {"ada": ["reader"], "grace": ["other", "writer"], "alone": []}
    lines = inv().splitlines()
    assert [line.split()[0] for line in lines] == ["account", "ada", "alone", "grace"]
    assert [line.split()[1] for line in lines[1:]] == ["reader", "none:", "writer"]


def test_remove_keeps_other_accounts(inv, mlflow):
    mlflow.users |= {"ada": ["reader"], "grace": []}
    assert "Account ada removed from MLflow" in inv(remove="ada")
    assert "ada" not in mlflow.users
    assert "grace" in mlflow.users


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"add": "worker"}, "belongs to the stack"),
        ({"remove": "admin"}, "belongs to the stack"),
        ({"remove": "airflow", "airflow": True}, "belongs to the stack"),
        ({"remove": "nobody"}, r"There is no account nobody\.\nRun: inv accounts"),
        ({"add": "a b"}, "is not a name"),
        ({"add": "-x"}, "is not a name"),
        ({"add": "ada", "role": "owner"}, r"no role owner\.\nUse one of: reader, writer"),
        ({"add": "ada", "remove": "ada"}, "cannot be combined"),
        ({"role": "writer"}, "need --add"),
        ({"remove": "ada", "password": True}, "need --add"),
    ],
)
def test_wrong_options_are_refused(inv, mlflow, options, message):
    before = dict(mlflow.users)
    with pytest.raises(StackError, match=message):
        inv(**options)
    assert mlflow.users == before


def test_airflow_account_has_the_same_password(inv, mlflow, airflow):
    airflow(airflow="Admin")
    output = inv("ada", role="writer", airflow=True)
    add = {"action": "add", "name": "ada", "role": "User", "password": mlflow.passwords["ada"]}
    assert airflow() == [{"action": "list"}, add]
    assert "docs/advisories.md" in output


def test_airflow_account_of_an_existing_account_keeps_its_password_in_mlflow(inv, mlflow, airflow):
    inv("ada")
    before = mlflow.passwords["ada"]
    airflow(airflow="Admin")
    output = inv("ada", airflow=True)
    [password] = re.findall(r"shown only now: (\S+)", output)
    assert "The password in MLflow is unchanged." in output
    assert mlflow.passwords["ada"] == before
    assert airflow()[-1]["password"] == password != before


def test_existing_airflow_account_keeps_its_password(inv, mlflow, airflow):
    airflow(ada="Viewer")
    output = inv("ada", airflow=True)
    assert "shown only now: " in output
    assert "The password in Airflow is unchanged." in output
    assert airflow()[-1]["password"] == ""


def test_account_that_airflow_refuses_is_not_left_in_mlflow(inv, mlflow, airflow):
    airflow(refused=("add",))
    with pytest.raises(StackError, match="Airflow refused the account"):
        inv("ada", airflow=True)
    assert "ada" not in mlflow.users


def test_list_and_remove_with_airflow(inv, mlflow, airflow):
    mlflow.users |= {"ada": ["reader"]}
    airflow(ada="Viewer", boss="Admin")
    lines = [line.split() for line in inv(airflow=True).splitlines()]
    assert lines[1:] == [["ada", "reader", "Viewer"], ["boss", "-", "Admin"]]
    inv(remove="boss", airflow=True)
    assert airflow()[-1] == {"action": "remove", "name": "boss"}
    assert "ada" in mlflow.users


def test_mlflow_down_or_another_admin_password(inv, mlflow, web):
    web.answers[f"GET {OLD}/users/list"] = (401, b"You are not authenticated.")
    with pytest.raises(StackError, match=r"Set MLFLOW_ADMIN_PASSWORD in \.env"):
        inv("ada")
    web.answers[f"GET {OLD}/users/list"] = (500, {"message": "database is down"})
    with pytest.raises(StackError, match=r"\(500\): database is down"):
        inv("ada")
    web.stop()
    with pytest.raises(StackError, match=r"MLflow does not answer .*\nRun: inv up"):
        inv("ada")
