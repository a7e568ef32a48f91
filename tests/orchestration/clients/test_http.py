"""Requests to the pages over TLS: asked by name at an address, and only of who proves to be it."""

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
def served(tmp_path):
    """Serves a pair over TLS on loopback."""
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
        held = {"TLS": "on", "PUBLIC_HOST": "box.example", "AIRFLOW_UID": os.getuid() or 50000}
        return make_settings(**held | values)

    return make


def test_the_address_is_asked_for_the_name_and_the_page_gets_its_password(with_tls, served):
    settings = with_tls()
    certificates.provide(settings)
    files = Files.of(settings)
    server = served(keypair.Pair(files.certificate.read_bytes(), files.key.read_bytes()))
    settings = with_tls(STATUS_PORT=server.port)
    check, document = health_report.reach(settings, "status")
    assert (check.detail, document) == (f"https://127.0.0.1:{server.port}: HTTP 200", {})
    [request] = server.requests
    assert request.headers["Host"] == f"box.example:{server.port}"
    assert request.headers["Authorization"].startswith("Basic ")


def test_a_stranger_with_a_certificate_of_his_own_is_told_nothing(with_tls, served):
    certificates.provide(with_tls())
    stranger = served(ca.issue(ca.authority("stranger"), ["box.example"]))
    settings = with_tls(STATUS_PORT=stranger.port)
    check, _ = health_report.reach(settings, "status")
    assert not check.healthy
    assert "its certificate is not the one that is expected" in check.detail
    assert stranger.requests == []


def test_the_ca_s_word_for_another_host_does_not_count(with_tls, served):
    settings = with_tls()
    certificates.provide(settings)
    files = Files.of(settings)
    issuer = keypair.Pair(files.ca.read_bytes(), files.ca_key.read_bytes())
    other = served(ca.issue(issuer, ["other.example"]))
    with http.session(settings) as session, pytest.raises(requests.exceptions.SSLError):
        session.get(f"https://127.0.0.1:{other.port}")


def test_an_own_certificate_is_known_without_who_signed_it(with_tls, served, clone):
    pair = ca.issue(ca.authority("elsewhere"), ["box.example"])
    (clone / "mine.pem").write_bytes(pair.certificate)
    (clone / "mine.key").write_bytes(pair.key)
    given = {"TLS_CERTIFICATE": "mine.pem", "TLS_KEY": "mine.key"}
    server = served(pair)
    settings = with_tls(**given, STATUS_PORT=server.port)
    certificates.provide(settings)
    assert health_report.reach(settings, "status")[0].healthy is not None
    assert len(server.requests) == 1


def test_before_a_certificate_is_there_nothing_is_believed(with_tls, served):
    server = served(ca.issue(ca.authority("stranger"), ["box.example"]))
    check, _ = health_report.reach(with_tls(STATUS_PORT=server.port), "status")
    assert not check.healthy
    assert server.requests == []


def test_without_tls_no_page_gets_a_password(make_settings):
    assert http.account(make_settings(), "STATUS_PORT") is None
