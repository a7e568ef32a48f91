"""`inv accounts`: list, add and remove the accounts of colleagues in MLflow and Airflow."""

import getpass
import re
import secrets
import sys
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from orchestration.clients.accounts import PASSWORDS
from orchestration.clients.airflow_accounts import ROLES as AIRFLOW_ROLES
from orchestration.clients.airflow_accounts import AirflowAccounts
from orchestration.clients.mlflow_accounts import ROLES, Account, MlflowAccounts
from orchestration.errors import StackError, UsageError
from orchestration.lifecycle import working_engine
from orchestration.project import Project
from orchestration.settings.model import Settings

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
# MLflow's own minimum.
MIN_PASSWORD_LENGTH = 12
MAX_PASSWORD_LENGTH = 128
RANDOM_BYTES = 15


@dataclass(frozen=True)
class Options:
    """The options of `inv accounts`. Only one of `add` and `remove` may be set."""

    add: str = ""
    remove: str = ""
    role: str = ""
    password: bool = False
    airflow: bool = False


def run(project: Project, options: Options) -> None:
    """List the accounts, or add or remove one. Raises StackError before anything is changed."""
    settings, engine = working_engine(project)
    check(settings, options)
    mlflow = MlflowAccounts(settings)
    existing = {account.name: account for account in mlflow.all()}
    airflow = AirflowAccounts(engine) if options.airflow else None
    in_airflow = airflow.all() if airflow else {}
    if options.remove:
        remove(options.remove, existing, mlflow, airflow, in_airflow)
    elif options.add:
        add(options, existing.get(options.add), mlflow, airflow, in_airflow)
    else:
        print_accounts(list(existing.values()), in_airflow if airflow else None)


def check(settings: Settings, options: Options) -> None:
    """Raise UsageError unless the options fit together and the account is a person's."""
    name, example = options.add or options.remove, "inv accounts --add NAME --role reader"
    if options.add and options.remove:
        raise UsageError("--add and --remove cannot be combined.", fix=example)
    if (options.role or options.password) and not options.add:
        raise UsageError("--role and --password need --add.", fix=example)
    if options.role and options.role not in ROLES:
        raise UsageError(f"There is no role {options.role}.", fix=f"Use one of: {', '.join(ROLES)}")
    if name and not NAME.fullmatch(name):
        cause = f"{name!r} is not a name for an account."
        raise UsageError(cause, fix="Use up to 64 letters, digits, dots, dashes and underscores.")
    if name in (*PASSWORDS, settings["_AIRFLOW_WWW_USER_USERNAME"]):
        cause = f"The account {name} belongs to the stack."
        raise UsageError(cause, fix="Use another name. To change its password: inv secrets")


def add(
    options: Options,
    existing: Account | None,
    mlflow: MlflowAccounts,
    airflow: AirflowAccounts | None,
    in_airflow: dict[str, str],
) -> None:
    """Create an account and print its password, or change an existing one.

    If Airflow refuses a new account, it is removed from MLflow again.
    """
    name, is_new = options.add, existing is None
    role = options.role or (existing.role if existing else "") or "reader"
    password = read_password(name) if options.password else ""
    generated = ""
    if not password and (is_new or (airflow and name not in in_airflow)):
        password = generated = secrets.token_urlsafe(RANDOM_BYTES)
    # A generated password is only for what is created, not for an existing account.
    changed = password if is_new or options.password else ""
    _change_mlflow(mlflow, existing or Account(name, ""), role, changed, is_new=is_new)
    if airflow:
        changed = password if name not in in_airflow or options.password else ""
        try:
            airflow.add(name, role, changed)
        except StackError:
            if is_new:
                mlflow.remove(name)
            raise
    kept = [] if is_new else ["MLflow"]
    kept += ["Airflow"] if airflow and name in in_airflow else []
    _print_result(mlflow, options, role, generated, kept)


def _change_mlflow(
    mlflow: MlflowAccounts, account: Account, role: str, password: str, *, is_new: bool
) -> None:
    if is_new:
        mlflow.create(account.name, password)
    elif password:
        mlflow.set_password(account.name, password)
    try:
        mlflow.set_role(account.name, role, account.role)
    except StackError:
        if is_new:
            mlflow.remove(account.name)
        raise


def _print_result(
    mlflow: MlflowAccounts, options: Options, role: str, generated: str, kept: list[str]
) -> None:
    """Print what was done. `kept` are the places in which the account existed before."""
    name, is_new = options.add, "MLflow" not in kept
    where = f"MLflow{f' and Airflow ({AIRFLOW_ROLES[role]})' if options.airflow else ''}"
    print(f"Account {name} {'created' if is_new else 'updated'} in {where}, role {role}.")
    print(ROLES[role])
    if generated:
        print(f"Password, shown only now: {generated}")
        for place in kept:
            print(f"The password in {place} is unchanged. To set both, add --password.")
    print(f"MLflow: {mlflow.settings.public_url('MLFLOW_PORT')}")
    if options.airflow:
        print("Advice: Airflow 3.0.1 has known vulnerabilities that any account can use.")
        print("Read docs/advisories.md before you give this account away.")


def remove(
    name: str,
    existing: dict[str, Account],
    mlflow: MlflowAccounts,
    airflow: AirflowAccounts | None,
    in_airflow: dict[str, str],
) -> None:
    """Remove an account from MLflow and, if asked, from Airflow."""
    if name not in existing and name not in in_airflow:
        raise StackError(f"There is no account {name}.", fix="inv accounts")
    if airflow and name in in_airflow:
        airflow.remove(name)
        print(f"Account {name} removed from Airflow.")
    if name in existing:
        mlflow.remove(name)
        print(f"Account {name} removed from MLflow. Its experiments and models are kept.")


def read_password(name: str) -> str:
    """Return a password from the terminal, or the first line of standard input.

    Raises StackError if it is too short or too long, or was not repeated.
    """
    if sys.stdin.isatty():
        password = getpass.getpass(f"Password for {name}: ")
        if getpass.getpass("Repeat it: ") != password:
            raise StackError("The two passwords differ.", fix=f"inv accounts --add {name}")
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    if not MIN_PASSWORD_LENGTH <= len(password) <= MAX_PASSWORD_LENGTH or not password.isascii():
        limits = f"{MIN_PASSWORD_LENGTH} to {MAX_PASSWORD_LENGTH}"
        raise StackError(
            f"A password needs {limits} characters of ASCII.",
            fix=f"Leave out --password to get a random one: inv accounts --add {name}",
        )
    return password


def print_accounts(accounts: list[Account], in_airflow: dict[str, str] | None) -> None:
    """Print a table of the accounts and their roles; `in_airflow` is None if not asked for."""
    roles = {account.name: account.role or "none: its own objects only" for account in accounts}
    if not roles and not in_airflow:
        print("There are no accounts of colleagues.\nRun: inv accounts --add NAME --role reader")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("account", "MLflow", *(["Airflow"] if in_airflow is not None else [])):
        table.add_column(column)
    for name in sorted({*roles, *(in_airflow or {})}):
        cells = [roles.get(name, "-"), *([] if in_airflow is None else [in_airflow.get(name, "-")])]
        table.add_row(escape(name), *map(escape, cells))
    Console(highlight=False, width=None if sys.stdout.isatty() else 200).print(table)
