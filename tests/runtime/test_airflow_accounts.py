"""Test the module that lists, adds and removes Airflow's accounts, with a fake of its security."""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest

GIVEN = "made up for this test"


class FakeSecurity:
    """Airflow's security manager in memory. As in FAB, accounts with roles cannot be deleted."""

    def __init__(self):
        self.users, self.passwords, self.refuses = [], {}, False

    def get_all_users(self):
        return self.users

    def find_user(self, username):
        return next((user for user in self.users if user.username == username), None)

    def find_role(self, name):
        return SimpleNamespace(name=name)

    def add_user(self, username, first, last, email, role, password):
        if self.refuses:
            return False
        user = SimpleNamespace(username=username, id=len(self.users), email=email, roles=[role])
        self.users.append(user)
        self.passwords[username] = password
        return user

    def update_user(self, user):
        return not self.refuses

    def reset_password(self, number, password):
        self.passwords[self.users[number].username] = password

    def del_register_user(self, user):
        if self.refuses or user.roles:
            return False
        self.users.remove(user)
        return True


@pytest.fixture
def security():
    return FakeSecurity()


@pytest.fixture
def send(script, security):
    """Send a request to the module; returns the accounts."""

    @contextmanager
    def builder():
        yield SimpleNamespace(sm=security)

    class ProvidersManager:
        def initialize_providers_configuration(self):
            """Read nothing."""

    utils = "airflow.providers.fab.auth_manager.cli_commands.utils"
    fakes = {
        utils: {"get_application_builder": builder},
        "airflow.providers_manager": {"ProvidersManager": ProvidersManager},
    }
    module = script("airflow.accounts", **fakes)
    return lambda action, **request: module.main({"action": action, **request})


def test_add_change_list_and_remove(send, security):
    assert send("list") == {}
    assert send("add", name="ada", role="Viewer", password=GIVEN) == {"ada": "Viewer"}
    assert security.passwords == {"ada": GIVEN}
    assert send("add", name="ada", role="User", password="") == {"ada": "User"}
    assert security.passwords == {"ada": GIVEN}
    send("add", name="ada", role="User", password=f"{GIVEN} too")
    assert security.passwords == {"ada": f"{GIVEN} too"}
    assert send("list") == {"ada": "User"}
    assert send("remove", name="ada") == {}


@pytest.mark.parametrize("exists", [True, False])
@pytest.mark.parametrize(
    "request_", [{"action": "add", "role": "Viewer", "password": GIVEN}, {"action": "remove"}]
)
def test_refusal_ends_with_a_message(send, security, exists, request_):
    if exists:
        send("add", name="ada", role="Viewer", password=GIVEN)
    security.refuses = True
    with pytest.raises(SystemExit, match=r"Airflow refused .*the account ada"):
        send(name="ada", **request_)
