"""Send mails with working links, while a proxy that leads nowhere is set in the usual places.

Run `nox -s semantics -- -k mail` (`standalone` first for that engine).
"""

import json
import re
import shutil
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from urllib.parse import unquote, urlsplit

import psutil
import pytest
import requests

from orchestration.host import ports
from tests.e2e.clone import until
from tests.e2e.faults import begin, outcome, task_process, trigger
from tests.e2e.test_semantics_health import check_code
from tests.support.http_stub import Stub

PROXY, OWN_HOST = "http://127.0.0.1:9", "own.example"
CHECKED = ("airflow-apiserver", "airflow-scheduler", "mlflow", "status")
MAIL_SECONDS = 60


class Session(StreamRequestHandler):
    """A session of SMTP in which each command but DATA is answered with OK."""

    def handle(self) -> None:
        self.reply("220 here")
        while words := self.rfile.readline().split():
            command = words[0].upper()
            if command == b"DATA":
                self.reply("354 go on")
                self.server.mails.append(message_from_bytes(b"".join(iter(self.line, b""))))
            self.reply("221 bye" if command == b"QUIT" else "250 OK")

    def line(self) -> bytes:
        """Return a line of a mail; empty after the last one."""
        line = self.rfile.readline()
        return b"" if line == b".\r\n" else line.removeprefix(b".")

    def reply(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


class MailServer(Stub):
    """A mail server on an address that the services of the stack can reach."""

    def __init__(self, engine: str) -> None:
        docker = engine == "docker"
        self.host = psutil.net_if_addrs()["docker0"][0].address if docker else "127.0.0.1"
        server = ThreadingTCPServer((self.host, 0), Session)
        server.daemon_threads = True
        self.mails: list[Message] = []
        server.mails = self.mails
        super().__init__(server)
        self.port = server.server_address[1]

    def settings(self) -> dict[str, str]:
        """Return the settings of .env for this server."""
        values = {"HOST": self.host, "PORT": str(self.port), "SECURITY": "none"}
        settings = {f"SMTP_{name}": value for name, value in values.items()}
        return {**settings, "ALERT_EMAIL_FROM": "stack@example.org"}


@pytest.fixture(scope="module")
def mail_server(engine):
    with MailServer(engine) as server:
        yield server


def proxy_settings(engine, folder) -> dict[str, str]:
    """Return variables that set a proxy as users do: in the shell, or for Docker's client."""
    if engine == "standalone":
        return {"http_proxy": PROXY, "https_proxy": PROXY, "NO_PROXY": OWN_HOST}
    original = Path.home() / ".docker"
    if original.exists():
        # Docker Desktop keeps sockets there.
        ignored = shutil.ignore_patterns("run", "*.sock", "desktop", "buildx")
        shutil.copytree(original, folder, symlinks=True, ignore=ignored)
    folder.mkdir(exist_ok=True)
    file = folder / "config.json"
    configuration = json.loads(file.read_text()) if file.exists() else {}
    default = {"httpProxy": PROXY, "httpsProxy": PROXY, "noProxy": OWN_HOST}
    file.write_text(json.dumps({**configuration, "proxies": {"default": default}}))
    return {"DOCKER_CONFIG": str(folder), "http_proxy": PROXY, "https_proxy": PROXY}


@pytest.fixture(scope="module", autouse=True)
def dags(stack, engine, mail_server, tmp_path_factory):
    """Restart the stack on another port with a mail server and a proxy, and add the DAGs."""
    exported, [port] = dict(stack.exported), ports.free(1)
    folder = tmp_path_factory.mktemp("client") / "docker"
    # A running stack keeps its proxy.
    stack.run_ok("inv", "down")
    stack.exported |= {
        **mail_server.settings(),
        **proxy_settings(engine, folder),
        "AIRFLOW_PORT": str(port),
    }
    try:
        # The canary needs the API server and MLflow.
        stack.run_ok("inv", "up")
        stack.add_dags("journal", "semantics/mail")
        for dag_id in ("journal", "mails", "mails_of_dead_task", "addresses"):
            until(lambda dag_id=dag_id: "dag_id" in stack.airflow(f"/api/v2/dags/{dag_id}"), 120)
        yield
    finally:
        stack.run_ok("inv", "down")
        stack.exported.clear()
        stack.exported |= exported
        stack.run_ok("inv", "up", "--no-proof")


@pytest.fixture
def mails(mail_server):
    """Return the mails that arrive during the test."""
    mail_server.mails.clear()
    return mail_server.mails


def link_of(mail: Message) -> str:
    """Return the first link in a mail."""
    [part] = [part for part in mail.walk() if part.get_content_type() == "text/html"]
    return re.search(r"""href=(["'])(.*?)\1""", part.get_payload(decode=True).decode())[2]


def assert_link_works(stack, link, run_id, task_id):
    """Check that a link opens a page of Airflow, and that it names an existing task."""
    assert requests.get(link, timeout=10).ok
    address, path = link.split("/dags/")
    assert address == stack.url("AIRFLOW_PORT")
    dag_id, runs, run, tasks, task = unquote(urlsplit(path).path).split("/")
    assert (runs, run, tasks, task) == ("runs", run_id, "tasks", task_id)
    api = f"/api/v2/dags/{dag_id}/dagRuns/{run}/taskInstances/{task}"
    assert stack.airflow(api)["task_id"] == task_id


def test_operator_failed_task_and_notifier_send_mails_with_working_links(stack, mails):
    run_id = trigger(stack, "mails")
    until(lambda: len(mails) == 3, MAIL_SECONDS)
    by_subject = {mail["Subject"]: mail for mail in mails}
    assert {"sent", "notified"} < by_subject.keys()
    for subject, mail in by_subject.items():
        assert (mail["From"], mail["To"]) == ("stack@example.org", "you@example.org")
        task_id = "sent" if subject == "sent" else "broken"
        assert_link_works(stack, link_of(mail), run_id, task_id)


def test_mail_about_task_whose_supervisor_died_is_sent(stack, engine, mails):
    if engine != "standalone":
        pytest.skip("with Docker this takes minutes, and the same service sends the mail")
    run_id = trigger(stack, "mails_of_dead_task")
    path = f"/api/v2/dags/mails_of_dead_task/dagRuns/{run_id}/taskInstances/work"
    until(lambda: stack.airflow(path)["state"] == "running", 60)
    task_process(stack).parent().kill()
    until(lambda: mails, MAIL_SECONDS)
    [mail] = mails
    assert_link_works(stack, link_of(mail), run_id, "work")
    assert outcome(stack, run_id, "mails_of_dead_task")[0] == "failed"


def test_tasks_use_proxy_for_foreign_hosts_only(stack):
    run_id = trigger(stack, "addresses")
    assert outcome(stack, run_id, "addresses", limit=60)[0] == "success"
    path = f"/api/v2/dags/addresses/dagRuns/{run_id}/taskInstances/work"
    report = stack.airflow(f"{path}/xcomEntries/return_value?deserialize=false&stringify=false")
    values = report["value"]
    assert values["http_proxy"] == values["https_proxy"] == PROXY
    assert OWN_HOST in values["NO_PROXY"].split(",")
    assert values["no_proxy"] == values["NO_PROXY"]
    assert (values["mlflow"], values["elsewhere"]) == (200, "proxy")
    assert values["base_url"] == stack.url("AIRFLOW_PORT") + "/"
    assert values["log_url"].startswith(f"{values['base_url']}dags/addresses/runs/")


def test_log_of_running_task_is_not_requested_from_proxy(stack):
    run_id = begin(stack)
    path = f"/api/v2/dags/journal/dagRuns/{run_id}/taskInstances/work/logs/1"
    assert "proxy" not in json.dumps(stack.airflow(path)).lower()
    assert outcome(stack, run_id)[0] == "success"


def test_health_checks_bypass_proxy(stack, engine):
    if engine != "docker":
        pytest.skip("the standalone engine has no health checks of containers")
    assert {name: check_code(stack, name) for name in CHECKED} == dict.fromkeys(CHECKED, 0)


def test_login_leads_back_to_the_address_in_the_browser(stack):
    headers = {"Host": "localhost:12345"}
    address = stack.url("AIRFLOW_PORT") + "/auth/"
    response = requests.get(address, headers=headers, allow_redirects=False, timeout=10)
    assert response.is_redirect
    assert stack.exported["AIRFLOW_PORT"] not in response.headers["Location"]
