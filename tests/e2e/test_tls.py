"""The pages behind the proxy: who is answered, how, and that all of the stack works through it.

By hand, on Docker: nox -s tls
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
from tests.e2e.conftest import standing_copy
from tests.support.process import run
from tests.support.repository import ROOT

HOST = "box.example"
# An address that is this machine's and no loopback: what other machines would ask.
OUTSIDE = "0.0.0.0"
LOGIN = "/auth/token"


@pytest.fixture(scope="module")
def closed(request, tmp_path_factory):
    """A clone that listens on every address, with TLS."""
    clone = standing_copy(request, tmp_path_factory.mktemp("tls") / "clone")
    clone.exported |= {"BIND_ADDRESS": OUTSIDE, "TLS": "on", "PUBLIC_HOST": HOST}
    clone.first_up = clone.well("inv", "up", timeout=1800)
    return clone


@pytest.fixture(scope="module")
def asked(closed):
    """A session that asks this machine as `https://box.example` and trusts the clone's CA alone."""
    settings = Project(closed.folder, closed.environment()).settings()
    with http.session(settings) as session:
        yield session


def at(clone: Clone, port: str, path: str = "/", scheme: str = "https") -> str:
    return f"{scheme}://127.0.0.1:{clone.exported[port]}{path}"


def password(clone: Clone) -> dict:
    return {"username": "airflow", "password": clone.setting("_AIRFLOW_WWW_USER_PASSWORD")}


def handshake(clone: Clone, version: ssl.TLSVersion) -> str:
    context = ssl.create_default_context(cafile=clone.folder / "certificates/ca.pem")
    context.minimum_version = context.maximum_version = version
    # Old ones are switched off on this side too, unless asked for.
    context.set_ciphers("ALL:@SECLEVEL=0")
    port = int(clone.exported["AIRFLOW_PORT"])
    with (
        socket.create_connection(("127.0.0.1", port), timeout=20) as raw,
        context.wrap_socket(raw, server_hostname=HOST) as talking,
    ):
        return talking.version()


def test_up_tells_the_addresses_that_people_type(closed):
    for port in PORTS:
        assert f"https://{HOST}:{closed.exported[port]}" in closed.first_up
    assert "0.0.0.0" not in closed.first_up
    assert "an internal CA was made" in closed.first_up


def test_the_handshake_takes_tls_of_today_alone(closed):
    assert handshake(closed, ssl.TLSVersion.TLSv1_2) == "TLSv1.2"
    assert handshake(closed, ssl.TLSVersion.TLSv1_3) == "TLSv1.3"
    with pytest.raises(ssl.SSLError):
        handshake(closed, ssl.TLSVersion.TLSv1_1)


def test_who_does_not_trust_the_ca_is_warned(closed):
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(at(closed, "AIRFLOW_PORT"), timeout=20)


@pytest.mark.parametrize("port", PORTS)
def test_another_host_is_refused_and_plain_http_is_sent_to_https(closed, asked, port):
    number = closed.exported[port]
    plain = {"allow_redirects": False, "timeout": 20}
    sent = requests.get(
        at(closed, port, "/x?y=1", "http"), headers={"Host": f"{HOST}:{number}"}, **plain
    )
    assert (sent.status_code, sent.headers["Location"]) == (308, f"https://{HOST}:{number}/x?y=1")
    for scheme in ("http", "https"):
        foreign = requests.get(
            at(closed, port, scheme=scheme), headers={"Host": "evil.example"}, verify=False, **plain
        )
        assert foreign.status_code == 403
    assert (
        "max-age=" in asked.get(at(closed, port), timeout=20).headers["Strict-Transport-Security"]
    )


def test_the_services_own_ports_are_not_published(closed):
    rows = closed.containers("--format", "{{.Names}} {{.Ports}}").splitlines()
    published = [row.split()[0] for row in rows if "->" in row]
    assert [re.sub(r".*-(tls)-\d+$", r"\1", name) for name in published] == ["tls"]


def test_tasks_interface_is_closed_from_outside(closed, asked):
    assert asked.get(at(closed, "AIRFLOW_PORT", "/execution/health"), timeout=20).status_code == 403


def test_the_status_page_wants_its_password_and_links_with_https(closed, asked):
    address = at(closed, "STATUS_PORT")
    assert asked.get(address, timeout=20).status_code == 401
    known = ("status", closed.setting("STATUS_PAGE_PASSWORD"))
    html = asked.get(address, auth=known, timeout=20).text
    assert f'href="https://{HOST}:{closed.exported["AIRFLOW_PORT"]}/"' in html


def test_mlflow_takes_its_own_address_for_an_origin_and_no_other(closed, asked):
    body, path = {"max_results": 1}, "/api/2.0/mlflow/experiments/search"
    here = f"https://{HOST}:{closed.exported['MLFLOW_PORT']}"
    for origin, right in ((here, True), ("https://evil.example", False)):
        told = {"Origin": origin}
        address = at(closed, "MLFLOW_PORT", path)
        code = asked.post(address, json=body, headers=told, timeout=20).status_code
        # Who is no foreign page is asked for an account.
        assert (code == 403) != right, code


def test_inv_works_through_it_to_a_champion(closed):
    assert closed.health()["status"] == "healthy"
    wanted = '{"until": "2013-01"}'
    output = closed.well("inv", "trigger", "training_pipeline", "--conf", wanted, "--wait")
    assert f"https://{HOST}:{closed.exported['MLFLOW_PORT']}/#/models/flight-delay" in output


BY_BROWSER = {
    "airflow": ("AIRFLOW_PORT", "_AIRFLOW_WWW_USER_PASSWORD", "training_pipeline"),
    "mlflow": ("MLFLOW_PORT", "MLFLOW_ADMIN_PASSWORD", "flight-delay"),
}


@pytest.mark.parametrize("what", BY_BROWSER)
def test_a_browser_logs_in_and_sees_what_is_there(closed, tmp_path, what):
    if not (python := os.environ.get("BROWSER_PYTHON")):
        pytest.skip("no browser's driver is here: nox -s tls")
    port, secret, wanted = BY_BROWSER[what]
    address = f"https://{HOST}:{closed.exported[port]}"
    picture = Path(os.environ.get("PICTURES", tmp_path)) / f"{what}.png"
    argv = [python, ROOT / "tests/e2e/browse.py", what, address, HOST, wanted, picture]
    done = run(*argv, input=closed.setting(secret), timeout=600)
    assert done.returncode == 0, done.stderr
    assert picture.stat().st_size > 10_000


# A notebook's work: a run with an artifact of 64 MiB, there and back, and the pipelines' champion.
NOTEBOOK = """
import os, pathlib, mlflow
whole = pathlib.Path("whole.bin")
whole.write_bytes(os.urandom(1 << 26))
mlflow.set_experiment("by a client through TLS")
with mlflow.start_run() as run:
    mlflow.log_metric("seen", 1.0)
    mlflow.log_artifact(whole)
back = mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path=whole.name)
assert pathlib.Path(back).read_bytes() == whole.read_bytes()
print(mlflow.pyfunc.load_model("models:/flight-delay@champion").metadata.run_id)
"""


def test_mlflows_client_works_through_it(closed, tmp_path):
    if not (python := os.environ.get("MLFLOW_PYTHON")):
        pytest.skip("no client of MLflow is here: nox -s tls")
    told = {
        "MLFLOW_TRACKING_URI": f"https://localhost:{closed.exported['MLFLOW_PORT']}",
        "MLFLOW_TRACKING_USERNAME": "admin",
        "MLFLOW_TRACKING_PASSWORD": closed.setting("MLFLOW_ADMIN_PASSWORD"),
        "REQUESTS_CA_BUNDLE": str(closed.folder / "certificates/ca.pem"),
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
    }
    asked = [Path(python).absolute(), "-c", NOTEBOOK]
    done = run(*asked, env=told, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"[0-9a-f]{32}", done.stdout.split()[-1])


def test_a_name_that_is_unknown_and_a_wrong_password_are_answered_alike(closed, asked):
    time.sleep(60)
    right = password(closed)
    bodies = [
        asked.post(at(closed, "AIRFLOW_PORT", LOGIN), json=json, timeout=60)
        for json in (dict.fromkeys(right, "wrong"), right | {"username": "unknown"})
    ]
    first, second = ((a.status_code, a.text, sorted(a.headers)) for a in bodies)
    assert first == second
    assert first[0] == 401


def test_a_hundred_wrong_logins_are_slowed_down(closed, asked):
    wrong = dict.fromkeys(password(closed), "wrong")

    def login(_: int) -> requests.Response:
        return asked.post(at(closed, "AIRFLOW_PORT", LOGIN), json=wrong, timeout=120)

    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(login, range(100)))
    slowed = [answer for answer in answers if answer.status_code == 429]
    assert len(slowed) >= 80
    assert {answer.status_code for answer in answers} == {401, 429}
    assert int(slowed[0].headers["Retry-After"]) > 0


def test_after_ten_wrong_passwords_the_right_one_has_to_wait_too(closed, asked):
    address, known = at(closed, "STATUS_PORT"), closed.setting("STATUS_PAGE_PASSWORD")
    tried = [asked.get(address, auth=("status", "wrong"), timeout=60) for _ in range(12)]
    assert [answer.status_code for answer in tried] == [401] * 10 + [429] * 2

    def well() -> bool:
        return asked.get(address, auth=("status", known), timeout=60).status_code == 200

    assert not well()
    until(well, 75)


def test_your_own_certificate_is_taken_and_one_that_does_not_fit_is_refused(closed):
    pair = ca.issue(ca.authority("elsewhere"), [HOST])
    other = ca.issue(ca.authority("elsewhere"), ["other.example"])
    for name, data in (("a", pair), ("b", other)):
        (closed.folder / f"{name}.pem").write_bytes(data.certificate)
        (closed.folder / f"{name}.key").write_bytes(data.key)
    for certificate, key, told in (
        ("a.pem", "b.key", "does not belong to"),
        ("b.pem", "b.key", f"is for other.example, not for {HOST}"),
        ("none.pem", "a.key", "No such file"),
        ("a.key", "a.key", "not a certificate in PEM"),
    ):
        refused = closed.run("inv", "up", TLS_CERTIFICATE=certificate, TLS_KEY=key)
        assert (refused.returncode, told in refused.stderr) == (1, True), refused.stderr
    closed.exported |= {"TLS_CERTIFICATE": "a.pem", "TLS_KEY": "a.key"}
    closed.well("inv", "up", timeout=1800)
    port = int(closed.exported["AIRFLOW_PORT"])
    assert ssl.get_server_certificate(("127.0.0.1", port)).encode() == pair.certificate


def test_without_tls_again_nothing_is_lost_and_nobody_else_is_answered(closed):
    exposed = closed.run("inv", "up", TLS="off")
    assert "Set TLS=on in .env, or BIND_ADDRESS=127.0.0.1" in exposed.stderr
    closed.exported |= {"TLS": "off", "BIND_ADDRESS": "127.0.0.1"}
    closed.well("inv", "up", timeout=1800)
    assert "-tls-" not in closed.containers("--all", "--format", "{{.Names}}")
    assert [run["state"] for run in closed.await_runs("training_pipeline", 60)] == ["success"]
