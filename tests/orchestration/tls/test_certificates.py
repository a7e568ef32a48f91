"""Test the TLS proxy's certificate: the user's own or one of the internal CA."""

import os
import shutil
import socket
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from orchestration.doctor import state_checks
from orchestration.errors import StackError
from orchestration.tls import ca, certificates, keypair
from orchestration.tls.certificates import Files


@pytest.fixture
def with_tls(make_settings):
    """Return a function that makes settings with TLS."""

    def make(**values):
        uid = os.getuid() or 50000
        return make_settings(
            **{"TLS": "on", "PUBLIC_HOST": "box.example", "AIRFLOW_UID": uid} | values
        )

    return make


@pytest.fixture
def own(clone, with_tls):
    """Return a function that makes settings with the user's own certificate, of another CA."""

    def make(*hosts, **values):
        pair = ca.issue(ca.create_ca("elsewhere"), hosts or ["box.example"])
        (clone / "mine.pem").write_bytes(pair.certificate)
        (clone / "mine.key").write_bytes(pair.key)
        return with_tls(TLS_CERTIFICATE="mine.pem", TLS_KEY="mine.key", **values)

    return make


def served(settings):
    return x509.load_pem_x509_certificate(Files.for_clone(settings).certificate.read_bytes())


def test_provide_without_tls_creates_nothing(make_settings, clone):
    assert certificates.provide(make_settings()) == ""
    assert not (clone / "certificates").exists()


def test_provide_creates_ca_and_certificate_with_private_keys(with_tls):
    settings = with_tls()
    assert "Created an internal CA" in certificates.provide(settings)
    files = Files.for_clone(settings)
    stats = {file: file.stat() for file in (files.key, files.ca_key, files.certificate, files.ca)}
    assert [oct(one.st_mode & 0o777) for one in stats.values()] == ["0o600"] * 2 + ["0o644"] * 2
    assert stats[files.key].st_uid == int(settings["AIRFLOW_UID"])
    assert stats[files.ca_key].st_uid == os.getuid()
    # The folder that the proxy mounts contains nothing else.
    assert {file.name for file in files.key.parent.iterdir()} == {"key.pem", "certificate.pem"}


def test_provide_with_a_strict_umask_lets_the_proxy_in(with_tls):
    settings, before = with_tls(), os.umask(0o077)
    try:
        certificates.provide(settings)
    finally:
        os.umask(before)
    assert Files.for_clone(settings).key.parent.stat().st_mode & 0o777 == 0o755


def test_provide_certificate_covers_all_names_of_the_machine(with_tls):
    settings = with_tls(BIND_ADDRESS="10.1.2.3")
    certificates.provide(settings)
    names = {"box.example", socket.gethostname().lower(), "localhost", "127.0.0.1", "10.1.2.3"}
    files = Files.for_clone(settings)
    assert names <= keypair.read(files.certificate, files.key).hosts
    assert certificates.trust_anchor(settings) == files.ca


def test_provide_renews_certificate_for_expiry_or_new_host(with_tls, monkeypatch):
    settings = with_tls()
    certificates.provide(settings)
    before, first = Files.for_clone(settings).ca.read_bytes(), served(settings)
    assert certificates.provide(settings) == ""
    assert "for other.example" in certificates.provide(with_tls(PUBLIC_HOST="other.example"))
    assert certificates.provide(settings) != ""
    monkeypatch.setattr(certificates, "ENDS_SOON", timedelta(days=ca.CERTIFICATE_DAYS + 1))
    assert certificates.provide(settings) != ""
    assert served(settings).serial_number != first.serial_number
    # The CA is the same, so clients need not import it again.
    assert Files.for_clone(settings).ca.read_bytes() == before


@pytest.mark.parametrize("broken", ["ca.key", "ca.pem"])
def test_provide_incomplete_ca_is_replaced_with_its_certificate(with_tls, clone, broken):
    settings = with_tls()
    certificates.provide(settings)
    (clone / "certificates" / broken).write_text("gone")
    assert "Created an internal CA" in certificates.provide(settings)
    served(settings).verify_directly_issued_by(
        x509.load_pem_x509_certificate(Files.for_clone(settings).ca.read_bytes())
    )


def test_issue_creates_server_certificates_only():
    issuer = ca.create_ca("here")
    certificate = ca.issue(issuer, ["box.example"]).x509
    assert (
        issuer.x509.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0
    )
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    lifetime = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    assert lifetime <= timedelta(days=398)


def test_provide_installs_own_certificate_and_its_renewal(own):
    settings = own()
    assert certificates.problems(settings) == []
    assert certificates.provide(settings) == "Installed your certificate."
    assert certificates.provide(settings) == ""
    assert certificates.trust_anchor(settings) == Files.for_clone(settings).certificate
    own()
    assert certificates.provide(settings) == "Installed your certificate."


def test_problems_wildcard_matches_one_label(own):
    assert certificates.problems(own("*.example")) == []
    assert certificates.problems(own("*.example", PUBLIC_HOST="a.box.example")) != []


def encrypt_key(clone):
    key = serialization.load_pem_private_key((clone / "mine.key").read_bytes(), None)
    encryption = serialization.BestAvailableEncryption(b"a phrase")
    options = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    (clone / "mine.key").write_bytes(key.private_bytes(*options))


def use_another_key(clone):
    pair = ca.issue(ca.create_ca("elsewhere"), ["box.example"])
    (clone / "mine.key").write_bytes(pair.key)


FAULTS = {
    "does not belong to": use_another_key,
    "No such file": lambda clone: (clone / "mine.key").unlink(),
    "not a certificate in PEM": lambda clone: (clone / "mine.pem").write_text("x"),
    "without a passphrase": encrypt_key,
}


@pytest.mark.parametrize("cause", FAULTS)
def test_problems_unusable_pair_is_rejected_with_its_cause(own, clone, cause):
    settings = own()
    FAULTS[cause](clone)
    [problem] = certificates.problems(settings)
    assert cause in str(problem)
    with pytest.raises(StackError, match=cause):
        certificates.provide(settings)
    assert not Files.for_clone(settings).key.exists()
    assert [problem.code for problem in state_checks.check_certificate(settings)] == [
        "certificate-unusable"
    ]


@pytest.mark.parametrize(
    ("days", "text"),
    [((-3, -1), "expired on"), ((1, 3), "Check this machine's clock.")],
    ids=["past", "future"],
)
def test_problems_expired_or_future_certificate_is_rejected(own, monkeypatch, days, text):
    start, end = days
    monkeypatch.setattr(ca, "BACKDATED", -timedelta(days=start))
    monkeypatch.setattr(ca, "CERTIFICATE_DAYS", end)
    [problem] = certificates.problems(own())
    assert text in str(problem)


def test_problems_certificate_for_other_hosts_names_them(own):
    [problem] = certificates.problems(own("a.example", "b.example"))
    assert "is for a.example, b.example, not for box.example." in problem.cause
    assert "PUBLIC_HOST" in problem.fix


@pytest.mark.skipif(os.getuid() == 0, reason="root reads everything")
def test_problems_unreadable_key_is_rejected(own, clone):
    settings = own()
    (clone / "mine.key").chmod(0)
    assert "Permission denied" in certificates.problems(settings)[0].cause


def test_doctor_warns_a_month_before_expiry(own, with_tls, monkeypatch, clone):
    assert [*state_checks.check_certificate(with_tls())] == []
    monkeypatch.setattr(ca, "CERTIFICATE_DAYS", 29)
    settings = own()
    certificates.provide(settings)
    [problem] = state_checks.check_certificate(settings)
    assert (problem.code, problem.fix) == (
        "certificate-ends-soon", f"Renew {clone / 'mine.pem'}, then run: inv up",
    )  # fmt: skip
    shutil.rmtree(clone / "certificates")
    certificates.provide(with_tls())
    assert [problem.fix for problem in state_checks.check_certificate(with_tls())] == ["inv up"]
