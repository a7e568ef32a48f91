"""Test requests to the pages over TLS: host name, verification and credentials."""

import os
import ssl
from contextlib import ExitStack

import pytest
import requests

from orchestration.clients import http
from orchestration.health import report as health_report
from orchestration.tls import ca, certificates, keypair
from orchestration.tls.certificates import Files
from tests.support.http_stub import HttpStub


@pytest.fixture
def serve_tls(tmp_path):
    """Serve a certificate and key over TLS on loopback."""
    with ExitStack() as servers:

        def serve(pair):
            stub = HttpStub()
            stub.answers["GET /status.json"] = (200, {})
            (tmp_path / "pair.pem").write_bytes(pair.certificate + pair.key)
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(tmp_path / "pair.pem")
            stub.server.socket = context.wrap_socket(stub.server.socket, server_side=True)
            return servers.enter_context(stub)

        yield serve


@pytest.fixture
def with_tls(make_settings):
    def make(**values):
        tls = {"TLS": "on", "PUBLIC_HOST": "box.example", "AIRFLOW_UID": os.getuid() or 50000}
        return make_settings(**tls | values)

    return make


def test_probe_with_tls_sends_host_name_and_password(with_tls, serve_tls):
    settings = with_tls()
    certificates.provide(settings)
    files = Files.for_clone(settings)
    server = serve_tls(keypair.Pair(files.certificate.read_bytes(), files.key.read_bytes()))
    settings = with_tls(STATUS_PORT=server.port)
    check, document = health_report.probe(settings, "status")
    assert (check.detail, document) == (f"https://127.0.0.1:{server.port}: HTTP 200", {})
    [request] = server.requests
    assert request.headers["Host"] == f"box.example:{server.port}"
    assert request.headers["Authorization"].startswith("Basic ")


def test_probe_of_a_foreign_certificate_sends_nothing(with_tls, serve_tls):
    certificates.provide(with_tls())
    foreign = serve_tls(ca.issue(ca.create_ca("foreign"), ["box.example"]))
    settings = with_tls(STATUS_PORT=foreign.port)
    check, _ = health_report.probe(settings, "status")
    assert not check.healthy
    assert "unexpected certificate" in check.detail
    assert foreign.requests == []


def test_session_rejects_our_certificate_for_another_host(with_tls, serve_tls):
    settings = with_tls()
    certificates.provide(settings)
    files = Files.for_clone(settings)
    issuer = keypair.Pair(files.ca.read_bytes(), files.ca_key.read_bytes())
    other = serve_tls(ca.issue(issuer, ["other.example"]))
    with http.session(settings) as session, pytest.raises(requests.exceptions.SSLError):
        session.get(f"https://127.0.0.1:{other.port}")


def test_probe_trusts_an_own_certificate_without_its_ca(with_tls, serve_tls, clone):
    pair = ca.issue(ca.create_ca("elsewhere"), ["box.example"])
    (clone / "mine.pem").write_bytes(pair.certificate)
    (clone / "mine.key").write_bytes(pair.key)
    own = {"TLS_CERTIFICATE": "mine.pem", "TLS_KEY": "mine.key"}
    server = serve_tls(pair)
    settings = with_tls(**own, STATUS_PORT=server.port)
    certificates.provide(settings)
    assert health_report.probe(settings, "status")[0].healthy is not None
    assert len(server.requests) == 1


def test_probe_before_the_first_certificate_sends_nothing(with_tls, serve_tls):
    server = serve_tls(ca.issue(ca.create_ca("foreign"), ["box.example"]))
    check, _ = health_report.probe(with_tls(STATUS_PORT=server.port), "status")
    assert not check.healthy
    assert server.requests == []


def test_credentials_without_tls_are_none(make_settings):
    assert http.credentials(make_settings(), "STATUS_PORT") is None
