"""Test the TLS proxy: handshakes, host names, wrong logins, certificates, and use of the pages.

Run by hand with Docker: nox -s tls
"""

import os
import re
import socket
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from orchestration.clients import http
from orchestration.project import Project
from orchestration.tls import ca
from tests.e2e.clone import PORTS, Clone, until
from tests.e2e.conftest import session_copy
from tests.support.process import run
from tests.support.repository import ROOT

HOST = "box.example"
# Listen on all addresses, so that other machines can connect.
ALL_ADDRESSES = "0.0.0.0"
LOGIN = "/auth/token"


@pytest.fixture(scope="module")
def stack(request, tmp_path_factory):
    """Start a clone with TLS on all addresses."""
    clone = session_copy(request, tmp_path_factory.mktemp("tls") / "clone")
    clone.exported |= {"BIND_ADDRESS": ALL_ADDRESSES, "TLS": "on", "PUBLIC_HOST": HOST}
    clone.first_up = clone.run_ok("inv", "up", timeout=1800)
    return clone


@pytest.fixture(scope="module")
def client(stack):
    """Return a session that connects as `box.example` and trusts only the stack's CA."""
    settings = Project(stack.folder, stack.environment()).settings()
    with http.session(settings) as session:
        yield session


def url(clone: Clone, port: str, path: str = "/", scheme: str = "https") -> str:
    return f"{scheme}://127.0.0.1:{clone.exported[port]}{path}"


def login_data(clone: Clone) -> dict:
    return {"username": "airflow", "password": clone.setting("_AIRFLOW_WWW_USER_PASSWORD")}


def handshake(clone: Clone, version: ssl.TLSVersion) -> str:
    """Connect with one version of TLS, and return the version in use."""
    context = ssl.create_default_context(cafile=clone.folder / "certificates/ca.pem")
    context.minimum_version = context.maximum_version = version
    # OpenSSL disables old versions in the client too, unless the security level is 0.
    context.set_ciphers("ALL:@SECLEVEL=0")
    port = int(clone.exported["AIRFLOW_PORT"])
    with (
        socket.create_connection(("127.0.0.1", port), timeout=20) as raw,
        context.wrap_socket(raw, server_hostname=HOST) as connection,
    ):
        return connection.version()


def test_up_prints_public_addresses(stack):
    for port in PORTS:
        assert f"https://{HOST}:{stack.exported[port]}" in stack.first_up
    assert "0.0.0.0" not in stack.first_up
    assert "Created an internal CA" in stack.first_up


def test_handshake_accepts_only_tls_1_2_and_1_3(stack):
    assert handshake(stack, ssl.TLSVersion.TLSv1_2) == "TLSv1.2"
    assert handshake(stack, ssl.TLSVersion.TLSv1_3) == "TLSv1.3"
    with pytest.raises(ssl.SSLError):
        handshake(stack, ssl.TLSVersion.TLSv1_1)


def test_client_without_the_ca_fails(stack):
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(url(stack, "AIRFLOW_PORT"), timeout=20)


@pytest.mark.parametrize("port", PORTS)
def test_page_redirects_http_to_https_and_refuses_foreign_host(stack, client, port):
    number = stack.exported[port]
    options = {"allow_redirects": False, "timeout": 20}
    redirect = requests.get(
        url(stack, port, "/x?y=1", "http"), headers={"Host": f"{HOST}:{number}"}, **options
    )
    expected = (308, f"https://{HOST}:{number}/x?y=1")
    assert (redirect.status_code, redirect.headers["Location"]) == expected
    foreign = {"Host": "evil.example"}
    for scheme in ("http", "https"):
        address = url(stack, port, scheme=scheme)
        response = requests.get(address, headers=foreign, verify=False, **options)
        assert response.status_code == 403
    headers = client.get(url(stack, port), timeout=20).headers
    assert "max-age=" in headers["Strict-Transport-Security"]


def test_only_the_proxy_publishes_ports(stack):
    rows = stack.containers("--format", "{{.Names}} {{.Ports}}").splitlines()
    published = [row.split()[0] for row in rows if "->" in row]
    assert [re.sub(r".*-(tls)-\d+$", r"\1", name) for name in published] == ["tls"]


def test_execution_api_is_refused_by_the_proxy(stack, client):
    response = client.get(url(stack, "AIRFLOW_PORT", "/execution/health"), timeout=20)
    assert response.status_code == 403


def test_status_page_requires_password_and_links_to_https(stack, client):
    address = url(stack, "STATUS_PORT")
    assert client.get(address, timeout=20).status_code == 401
    account = ("status", stack.setting("STATUS_PAGE_PASSWORD"))
    html = client.get(address, auth=account, timeout=20).text
    assert f'href="https://{HOST}:{stack.exported["AIRFLOW_PORT"]}/"' in html


def test_mlflow_accepts_only_its_own_origin(stack, client):
    body, path = {"max_results": 1}, "/api/2.0/mlflow/experiments/search"
    own = f"https://{HOST}:{stack.exported['MLFLOW_PORT']}"
    for origin, accepted in ((own, True), ("https://evil.example", False)):
        address = url(stack, "MLFLOW_PORT", path)
        code = client.post(address, json=body, headers={"Origin": origin}, timeout=20).status_code
        # With an accepted origin, the answer is 401, because the request has no account.
        assert (code == 403) != accepted, code


def test_inv_health_and_trigger_work_through_the_proxy(stack):
    assert stack.health()["status"] == "healthy"
    conf = '{"until": "2013-01"}'
    output = stack.run_ok("inv", "trigger", "training_pipeline", "--conf", conf, "--wait")
    assert f"https://{HOST}:{stack.exported['MLFLOW_PORT']}/#/models/flight-delay" in output


# For each server: the setting of its port, the setting of its password, and a name on its page.
BROWSER_LOGINS = {
    "airflow": ("AIRFLOW_PORT", "_AIRFLOW_WWW_USER_PASSWORD", "training_pipeline"),
    "mlflow": ("MLFLOW_PORT", "MLFLOW_ADMIN_PASSWORD", "flight-delay"),
}


@pytest.mark.parametrize("server", BROWSER_LOGINS)
def test_browser_logs_in_and_shows_dag_or_model(stack, tmp_path, server):
    if not (python := os.environ.get("BROWSER_PYTHON")):
        pytest.skip("The browser's driver is missing. Run: nox -s tls")
    port, secret, name = BROWSER_LOGINS[server]
    address = f"https://{HOST}:{stack.exported[port]}"
    screenshot = Path(os.environ.get("PICTURES", tmp_path)) / f"{server}.png"
    argv = [python, ROOT / "tests/e2e/browse.py", server, address, HOST, name, screenshot]
    done = run(*argv, input=stack.setting(secret), timeout=600)
    assert done.returncode == 0, done.stderr
    assert screenshot.stat().st_size > 10_000


# Uploads and downloads an artifact of 64 MiB, and loads the champion.
NOTEBOOK = """
import os, pathlib, mlflow
artifact = pathlib.Path("large.bin")
artifact.write_bytes(os.urandom(1 << 26))
mlflow.set_experiment("TLS client")
with mlflow.start_run() as run:
    mlflow.log_metric("seen", 1.0)
    mlflow.log_artifact(artifact)
copy = mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path=artifact.name)
assert pathlib.Path(copy).read_bytes() == artifact.read_bytes()
print(mlflow.pyfunc.load_model("models:/flight-delay@champion").metadata.run_id)
"""


def test_mlflow_client_works_through_the_proxy(stack, tmp_path):
    if not (python := os.environ.get("MLFLOW_PYTHON")):
        pytest.skip("MLflow's client is missing. Run: nox -s tls")
    environment = {
        "MLFLOW_TRACKING_URI": f"https://localhost:{stack.exported['MLFLOW_PORT']}",
        "MLFLOW_TRACKING_USERNAME": "admin",
        "MLFLOW_TRACKING_PASSWORD": stack.setting("MLFLOW_ADMIN_PASSWORD"),
        "REQUESTS_CA_BUNDLE": str(stack.folder / "certificates/ca.pem"),
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
    }
    argv = [Path(python).absolute(), "-c", NOTEBOOK]
    done = run(*argv, env=environment, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"[0-9a-f]{32}", done.stdout.split()[-1])


def test_login_unknown_user_and_wrong_password_get_the_same_answer(stack, client):
    # The proxy limits logins to ten a minute, and earlier tests have logged in.
    time.sleep(60)
    valid = login_data(stack)
    responses = [
        client.post(url(stack, "AIRFLOW_PORT", LOGIN), json=json, timeout=60)
        for json in (dict.fromkeys(valid, "wrong"), valid | {"username": "unknown"})
    ]
    first, second = ((r.status_code, r.text, sorted(r.headers)) for r in responses)
    assert first == second
    assert first[0] == 401


def test_login_hundred_wrong_passwords_are_limited(stack, client):
    wrong = dict.fromkeys(login_data(stack), "wrong")

    def login(_: int) -> requests.Response:
        return client.post(url(stack, "AIRFLOW_PORT", LOGIN), json=wrong, timeout=120)

    with ThreadPoolExecutor(10) as pool:
        responses = list(pool.map(login, range(100)))
    limited = [response for response in responses if response.status_code == 429]
    assert len(limited) >= 80
    assert {response.status_code for response in responses} == {401, 429}
    assert int(limited[0].headers["Retry-After"]) > 0


def test_status_page_ten_wrong_passwords_block_the_right_one(stack, client):
    address, password = url(stack, "STATUS_PORT"), stack.setting("STATUS_PAGE_PASSWORD")
    responses = [client.get(address, auth=("status", "wrong"), timeout=60) for _ in range(12)]
    assert [response.status_code for response in responses] == [401] * 10 + [429] * 2

    def accepted() -> bool:
        return client.get(address, auth=("status", password), timeout=60).status_code == 200

    assert not accepted()
    until(accepted, 75)


def test_own_certificate_is_used_and_invalid_one_is_refused(stack):
    pair = ca.issue(ca.create_ca("elsewhere"), [HOST])
    other = ca.issue(ca.create_ca("elsewhere"), ["other.example"])
    for name, data in (("a", pair), ("b", other)):
        (stack.folder / f"{name}.pem").write_bytes(data.certificate)
        (stack.folder / f"{name}.key").write_bytes(data.key)
    for certificate, key, message in (
        ("a.pem", "b.key", "does not belong to"),
        ("b.pem", "b.key", f"is for other.example, not for {HOST}"),
        ("none.pem", "a.key", "No such file"),
        ("a.key", "a.key", "not a certificate in PEM"),
    ):
        refused = stack.run("inv", "up", TLS_CERTIFICATE=certificate, TLS_KEY=key)
        assert (refused.returncode, message in refused.stderr) == (1, True), refused.stderr
    stack.exported |= {"TLS_CERTIFICATE": "a.pem", "TLS_KEY": "a.key"}
    stack.run_ok("inv", "up", timeout=1800)
    port = int(stack.exported["AIRFLOW_PORT"])
    assert ssl.get_server_certificate(("127.0.0.1", port)).encode() == pair.certificate


def test_disabling_tls_requires_loopback_and_keeps_runs(stack):
    exposed = stack.run("inv", "up", TLS="off")
    assert "Set TLS=on in .env, or BIND_ADDRESS=127.0.0.1" in exposed.stderr
    stack.exported |= {"TLS": "off", "BIND_ADDRESS": "127.0.0.1"}
    stack.run_ok("inv", "up", timeout=1800)
    assert "-tls-" not in stack.containers("--all", "--format", "{{.Names}}")
    assert [run["state"] for run in stack.await_runs("training_pipeline", 60)] == ["success"]
