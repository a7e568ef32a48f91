"""The certificate of the proxy: made by an internal CA, or the person's own, which must fit."""

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
    """Settings with TLS, for a host."""

    def make(**values):
        uid = os.getuid() or 50000
        return make_settings(
            **{"TLS": "on", "PUBLIC_HOST": "box.example", "AIRFLOW_UID": uid} | values
        )

    return make


@pytest.fixture
def own(clone, with_tls):
    """Settings with a person's own certificate for some hosts, made by an authority elsewhere."""

    def make(*hosts, **values):
        pair = ca.issue(ca.authority("elsewhere"), hosts or ["box.example"])
        (clone / "mine.pem").write_bytes(pair.certificate)
        (clone / "mine.key").write_bytes(pair.key)
        return with_tls(TLS_CERTIFICATE="mine.pem", TLS_KEY="mine.key", **values)

    return make


def served(settings):
    return x509.load_pem_x509_certificate(Files.of(settings).certificate.read_bytes())


def test_without_tls_nothing_is_made(make_settings, clone):
    assert certificates.provide(make_settings()) == ""
    assert not (clone / "certificates").exists()


def test_a_ca_and_a_certificate_are_made_and_only_who_serves_it_reads_the_key(with_tls):
    settings = with_tls()
    assert "an internal CA was made" in certificates.provide(settings)
    files = Files.of(settings)
    held = {file: file.stat() for file in (files.key, files.ca_key, files.certificate, files.ca)}
    assert [oct(one.st_mode & 0o777) for one in held.values()] == ["0o600"] * 2 + ["0o644"] * 2
    assert held[files.key].st_uid == int(settings["AIRFLOW_UID"])
    assert held[files.ca_key].st_uid == os.getuid()
    # Only what the proxy mounts lies beside its key.
    assert {file.name for file in files.key.parent.iterdir()} == {"key.pem", "certificate.pem"}


def test_it_is_for_all_names_by_which_this_machine_is_asked(with_tls):
    settings = with_tls(BIND_ADDRESS="10.1.2.3")
    certificates.provide(settings)
    names = {"box.example", socket.gethostname().lower(), "localhost", "127.0.0.1", "10.1.2.3"}
    files = Files.of(settings)
    assert names <= keypair.read(files.certificate, files.key).hosts
    assert certificates.trusted(settings) == files.ca


def test_it_stays_until_it_ends_soon_or_the_host_is_another(with_tls, monkeypatch):
    settings = with_tls()
    certificates.provide(settings)
    before, first = Files.of(settings).ca.read_bytes(), served(settings)
    assert certificates.provide(settings) == ""
    assert "for other.example" in certificates.provide(with_tls(PUBLIC_HOST="other.example"))
    assert certificates.provide(settings) != ""
    monkeypatch.setattr(certificates, "ENDS_SOON", timedelta(days=ca.CERTIFICATE_DAYS + 1))
    assert certificates.provide(settings) != ""
    assert served(settings).serial_number != first.serial_number
    # Who trusts it needs not do so again.
    assert Files.of(settings).ca.read_bytes() == before


@pytest.mark.parametrize("broken", ["ca.key", "ca.pem"])
def test_a_ca_that_lost_a_half_is_made_anew_with_what_it_gave_out(with_tls, clone, broken):
    settings = with_tls()
    certificates.provide(settings)
    (clone / "certificates" / broken).write_text("gone")
    assert "an internal CA was made" in certificates.provide(settings)
    served(settings).verify_directly_issued_by(
        x509.load_pem_x509_certificate(Files.of(settings).ca.read_bytes())
    )


def test_the_authority_gives_to_servers_alone():
    issuer = ca.authority("here")
    given = ca.issue(issuer, ["box.example"]).opened
    assert (
        issuer.opened.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length
        == 0
    )
    assert not given.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    days = given.not_valid_after_utc - given.not_valid_before_utc
    assert days <= timedelta(days=398)


def test_your_own_is_taken_over_and_again_only_when_it_was_renewed(own):
    settings = own()
    assert certificates.problems(settings) == []
    assert certificates.provide(settings) == "your certificate is taken over"
    assert certificates.provide(settings) == ""
    assert certificates.trusted(settings) == Files.of(settings).certificate
    own()
    assert certificates.provide(settings) == "your certificate is taken over"


def test_a_star_stands_for_one_label(own):
    assert certificates.problems(own("*.example")) == []
    assert certificates.problems(own("*.example", PUBLIC_HOST="a.box.example")) != []


def encrypted(clone):
    key = serialization.load_pem_private_key((clone / "mine.key").read_bytes(), None)
    locked = serialization.BestAvailableEncryption(b"a phrase")
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked)
    (clone / "mine.key").write_bytes(key.private_bytes(*form))


def of_another(clone):
    pair = ca.issue(ca.authority("elsewhere"), ["box.example"])
    (clone / "mine.key").write_bytes(pair.key)


FAULTS = {
    "does not belong to": of_another,
    "No such file": lambda clone: (clone / "mine.key").unlink(),
    "not a certificate in PEM": lambda clone: (clone / "mine.pem").write_text("x"),
    "without a passphrase": encrypted,
}


@pytest.mark.parametrize("told", FAULTS)
def test_a_pair_that_cannot_be_served_is_refused_with_its_reason(own, clone, told):
    settings = own()
    FAULTS[told](clone)
    [problem] = certificates.problems(settings)
    assert told in str(problem)
    with pytest.raises(StackError, match=told):
        certificates.provide(settings)
    assert not Files.of(settings).key.exists()
    assert [found.code for found in state_checks.of_certificate(settings)] == [
        "certificate-unusable"
    ]


@pytest.mark.parametrize(
    ("days", "told"),
    [((-3, -1), "expired on"), ((1, 3), "Check this machine's clock.")],
    ids=["past", "future"],
)
def test_one_of_another_time_is_refused(own, monkeypatch, days, told):
    begin, end = days
    monkeypatch.setattr(ca, "BACKDATED", -timedelta(days=begin))
    monkeypatch.setattr(ca, "CERTIFICATE_DAYS", end)
    [problem] = certificates.problems(own())
    assert told in str(problem)


def test_one_for_somebody_else_is_refused_with_whom_it_is_for(own):
    [problem] = certificates.problems(own("a.example", "b.example"))
    assert "is for a.example, b.example, not for box.example." in problem.cause
    assert "PUBLIC_HOST" in problem.fix


@pytest.mark.skipif(os.getuid() == 0, reason="root reads everything")
def test_a_key_that_this_user_may_not_read_is_refused(own, clone):
    settings = own()
    (clone / "mine.key").chmod(0)
    assert "Permission denied" in certificates.problems(settings)[0].cause


def test_the_doctor_warns_a_month_before_the_end(own, with_tls, monkeypatch, clone):
    assert [*state_checks.of_certificate(with_tls())] == []
    monkeypatch.setattr(ca, "CERTIFICATE_DAYS", 29)
    settings = own()
    certificates.provide(settings)
    [found] = state_checks.of_certificate(settings)
    assert (found.code, found.fix) == (
        "certificate-ends-soon", f"Renew {clone / 'mine.pem'}, then run: inv up",
    )  # fmt: skip
    shutil.rmtree(clone / "certificates")
    certificates.provide(with_tls())
    assert [found.fix for found in state_checks.of_certificate(with_tls())] == ["inv up"]
