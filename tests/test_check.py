"""sipmesh check: each thing that can be wrong is found, with key and remedy, and all of them in one run."""

from __future__ import annotations

import os
import socket
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sipmesh.operator.authority import Credential, create_authority, issue, read_credential
from sipmesh.operator.check import check_all
from sipmesh.operator.commands import sipmesh
from sipmesh.operator.findings import Finding
from sipmesh_plugins.users_database import add_user

NOW = datetime.now(UTC)
NAME = "fe1.a.example"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A server in which nothing is wrong."""
    directory = tmp_path / "s"
    made = CliRunner().invoke(sipmesh, ["init", str(directory), "--name", NAME, "--domain", "a.example"])
    assert made.exit_code == 0, made.output
    add_user(directory / "users.db", "alice", "a.example", "a.example", "wonderland")
    return directory


def found(site: Path, now: datetime = NOW) -> list[Finding]:
    return list(check_all(site / "sipmesh.toml", now))


def only(site: Path, now: datetime = NOW) -> Finding:
    findings = found(site, now)
    assert len(findings) == 1, [str(finding) for finding in findings]
    assert findings[0].problem.remedy
    return findings[0]


def edit(site: Path, old: str, new: str) -> None:
    file = site / "sipmesh.toml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def authority(site: Path) -> Credential:
    return read_credential((site / "ca.pem").read_bytes(), (site / "ca.key").read_bytes())


def install(site: Path, server: Credential) -> None:
    """Make this the server's certificate."""
    (site / f"{NAME}.pem").write_bytes(server.certificate_pem)
    (site / f"{NAME}.key").write_bytes(server.key_pem)


def certified(
    site: Path, names: Sequence[x509.GeneralName] | None, purposes: Sequence[x509.ObjectIdentifier] | None
) -> Credential:
    """A certificate by the site's CA such as `sipmesh ca issue` would not make."""
    ca, key = authority(site), ec.generate_private_key(ec.SECP256R1())
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)]))
        .issuer_name(ca.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=300))
    )
    if names is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if purposes is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    return Credential(builder.sign(ca.key, SHA256()), key)


BOTH = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)


def test_nothing_is_found_where_nothing_is_wrong(site: Path) -> None:
    assert found(site) == []


# Our certificate and key ----------------------------------------------------------------------------------


def test_certificate_of_a_ca_that_we_do_not_trust(site: Path) -> None:
    install(site, issue(create_authority("Other CA", NOW), [NAME], NOW))
    problem = only(site).problem
    assert problem.key == "tls.certificate"
    assert "verifies within trust.enterprise" in problem.expected
    assert "Other CA" in problem.got


def test_self_signed_certificate(site: Path) -> None:
    install(site, create_authority(NAME, NOW))
    assert any("verifies within trust.enterprise" in f.problem.expected for f in found(site))


def test_certificate_for_another_name(site: Path) -> None:
    install(site, issue(authority(site), ["fe2.a.example"], NOW))
    problem = only(site).problem
    assert problem.key == "tls.certificate"
    assert problem.expected == "a certificate that proves server.name, fe1.a.example"
    assert problem.got == "one that proves fe2.a.example"
    assert "sipmesh ca issue fe1.a.example" in problem.remedy


def test_common_name_alone_proves_nothing(site: Path) -> None:
    install(site, certified(site, None, BOTH))
    assert only(site).problem.got == "one that proves no name"


def test_wildcard_proves_nothing(site: Path) -> None:
    install(site, certified(site, [x509.DNSName("*.a.example")], BOTH))
    assert only(site).problem.got == "one that proves no name"


def test_dns_name_beside_another_sip_uri_does_not_count(site: Path) -> None:
    names = [x509.UniformResourceIdentifier("sip:a.example"), x509.DNSName(NAME)]
    install(site, certified(site, names, BOTH))
    problem = only(site).problem
    assert problem.got == "one that proves a.example"
    assert "have URI:sip:fe1.a.example added" in problem.remedy


@pytest.mark.parametrize(
    ("purposes", "missing"),
    [
        ([ExtendedKeyUsageOID.SERVER_AUTH], "clientAuth"),
        ([ExtendedKeyUsageOID.CLIENT_AUTH], "serverAuth"),
    ],
)
def test_certificate_for_one_direction_only(
    site: Path, purposes: list[x509.ObjectIdentifier], missing: str
) -> None:
    install(site, certified(site, [x509.DNSName(NAME)], purposes))
    finding = only(site)
    assert not finding.warning
    assert missing in finding.problem.expected


@pytest.mark.parametrize(
    "purposes",
    [None, [ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE], [x509.ObjectIdentifier("1.3.6.1.5.5.7.3.20")]],
)
def test_certificate_for_every_purpose_will_do(
    site: Path, purposes: list[x509.ObjectIdentifier] | None
) -> None:
    install(site, certified(site, [x509.DNSName(NAME)], purposes))
    assert found(site) == []


@pytest.mark.parametrize(
    ("days", "warning", "text"),
    [(364, True, "which expires on"), (336, True, "which expires on"), (366, False, "which expired on")],
)
def test_certificate_near_its_end_is_a_warning_and_past_it_an_error(
    site: Path, days: int, warning: bool, text: str
) -> None:
    finding = only(site, NOW + timedelta(days=days))
    assert finding.warning is warning
    assert finding.problem.key == "tls.certificate"
    assert text in finding.problem.got


def test_certificate_with_a_month_left_is_silent(site: Path) -> None:
    assert found(site, NOW + timedelta(days=334)) == []


def test_certificate_from_the_future(site: Path) -> None:
    findings = found(site, NOW - timedelta(days=2))
    assert {f.problem.key for f in findings} == {"tls.certificate", "trust.enterprise[0]"}
    assert all("clock" in f.problem.remedy and not f.warning for f in findings)


def test_key_of_another_certificate(site: Path) -> None:
    (site / f"{NAME}.key").write_bytes(create_authority("x", NOW).key_pem)
    problem = only(site).problem
    assert problem.key == "tls.key"
    assert "another certificate's key" in problem.got


def test_chain_in_the_wrong_order(site: Path) -> None:
    chain = site / f"{NAME}.pem"
    chain.write_bytes((site / "ca.pem").read_bytes() + chain.read_bytes())
    assert any("put our own certificate first" in f.problem.remedy for f in found(site))


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o660, 0o602])
def test_key_that_others_may_use(site: Path, mode: int) -> None:
    (site / f"{NAME}.key").chmod(mode)
    problem = only(site).problem
    assert problem.key == "tls.key"
    assert problem.remedy == f"chmod 600 {site / f'{NAME}.key'}"


def test_key_may_be_shared_with_a_group(site: Path) -> None:
    (site / f"{NAME}.key").chmod(0o640)
    assert found(site) == []


def test_encrypted_key(site: Path) -> None:
    server = issue(authority(site), [NAME], NOW)
    install(site, server)
    locked = server.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"hunter2"))
    (site / f"{NAME}.key").write_bytes(locked)
    assert only(site).problem.got == "an encrypted one"


def test_key_file_that_holds_something_else_is_not_quoted(site: Path) -> None:
    (site / f"{NAME}.key").write_text("hunter2")
    problem = only(site).problem
    assert "none that can be read" in problem.got
    assert "hunter2" not in str(problem)


@pytest.mark.parametrize(
    ("name", "key"),
    [(f"{NAME}.pem", "tls.certificate"), (f"{NAME}.key", "tls.key"), ("ca.pem", "trust.enterprise[0]")],
)
def test_file_that_is_missing(site: Path, name: str, key: str) -> None:
    (site / name).unlink()
    problem = only(site).problem
    assert problem.key == key
    assert str(site / name) in problem.expected
    assert problem.got == "No such file or directory"


@pytest.mark.parametrize(
    ("name", "key"), [(f"{NAME}.pem", "tls.certificate"), ("ca.pem", "trust.enterprise[0]")]
)
def test_file_that_holds_no_certificate(site: Path, name: str, key: str) -> None:
    (site / name).write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    problem = only(site).problem
    assert problem.key == key
    assert problem.expected.startswith("PEM certificates")


# Anchors --------------------------------------------------------------------------------------------------


def test_anchor_that_is_no_ca(site: Path) -> None:
    (site / "ca.pem").write_bytes((site / "ca.pem").read_bytes() + (site / f"{NAME}.pem").read_bytes())
    problem = only(site).problem
    assert problem.key == "trust.enterprise[0]"
    assert "not a CA's" in problem.got


def test_anchor_near_its_end(site: Path) -> None:
    ca = create_authority("CA", NOW, days=20)
    (site / "ca.pem").write_bytes(ca.certificate_pem)
    install(site, issue(ca, [NAME], NOW))
    findings = found(site)
    assert {f.problem.key for f in findings} == {"tls.certificate", "trust.enterprise[0]"}
    assert all(f.warning for f in findings)


PARTNER = """
[[federation]]
policy = "federation.allow"
[[federation.partners]]
domain = "b.example"
ca = "b.pem"
"""


def add(site: Path, text: str) -> None:
    file = site / "sipmesh.toml"
    file.write_text(file.read_text() + text)


def test_partner_with_a_good_ca(site: Path) -> None:
    add(site, PARTNER)
    (site / "b.pem").write_bytes(create_authority("B", NOW).certificate_pem)
    assert found(site) == []


@pytest.mark.parametrize(
    ("content", "warning", "text"),
    [
        (None, False, "No such file"),
        (b"garbage", False, "b.pem"),
        (create_authority("B", NOW, days=10).certificate_pem, True, "which expires on"),
        (create_authority("B", NOW - timedelta(days=20), days=10).certificate_pem, False, "which expired on"),
        (issue(create_authority("B", NOW), ["b.example"], NOW).certificate_pem, False, "not a CA's"),
    ],
)
def test_partner_whose_ca_is_wrong(site: Path, content: bytes | None, warning: bool, text: str) -> None:
    add(site, PARTNER)
    if content is not None:
        (site / "b.pem").write_bytes(content)
    finding = only(site)
    assert finding.problem.key.startswith("federation[0]")
    assert finding.warning is warning
    assert text in finding.problem.got


def test_partner_policy_that_raises_is_a_finding(site: Path) -> None:
    (site / "company_check.py").write_text(
        "from attrs import frozen\n"
        "from zope.interface import implementer\n"
        "from sipmesh.interfaces import IFederationPolicy\n"
        "@implementer(IFederationPolicy)\n"
        "@frozen\n"
        "class Partners:\n"
        "    def anchors(self): raise KeyError('oops')\n"
        "    def admit(self, presented): ...\n"
        "    def reach(self, domain): ...\n"
        "    def judge(self, request, partner, context): ...\n"
    )
    add(site, '[[federation]]\npolicy = "company_check:Partners"\n')
    assert "oops" in only(site).problem.got


# Databases, files, permissions ----------------------------------------------------------------------------


def test_users_that_are_missing(site: Path) -> None:
    (site / "users.db").unlink()
    finding = only(site)
    assert finding.problem.key == "users.database"
    assert not finding.warning
    assert "sipmesh user add" in finding.problem.remedy


def test_users_file_that_is_something_else(site: Path) -> None:
    (site / "users.db").write_bytes(b"x" * 5000)
    assert only(site).problem.key == "users.database"


def test_users_that_everybody_may_read(site: Path) -> None:
    (site / "users.db").chmod(0o644)
    assert "chmod o-rwx" in only(site).problem.remedy


def test_location_file_that_is_something_else(site: Path) -> None:
    (site / "location.db").write_bytes(b"x" * 5000)
    problem = only(site).problem
    assert problem.key == "location.database"
    assert "not a database" in problem.got


def test_location_and_users_in_one_file(site: Path) -> None:
    edit(site, '"location.db"', '"users.db"')
    problem = only(site).problem
    assert (problem.key, problem.expected) == ("location.database", "a file of its own")


def test_location_directory_that_is_missing(site: Path) -> None:
    edit(site, '"location.db"', '"var/location.db"')
    problem = only(site).problem
    assert problem.key == "location.database"
    assert str(site / "var") in problem.expected


def test_location_that_is_not_there_yet_is_made_by_the_server(site: Path) -> None:
    assert not (site / "location.db").exists()
    assert found(site) == []
    assert not (site / "location.db").exists()


def test_running_server_is_not_disturbed(site: Path) -> None:
    with sqlite3.connect(site / "location.db") as server:
        server.execute("PRAGMA journal_mode = WAL")
        server.execute("CREATE TABLE bindings (aor TEXT)")
        assert found(site) == []
        server.execute("INSERT INTO bindings VALUES ('sip:alice@a.example')")


def test_trace_socket_without_a_directory(site: Path) -> None:
    (site / "run").rmdir()
    problem = only(site).problem
    assert problem.key == "trace.socket"
    assert problem.remedy == f"mkdir -m 700 {site / 'run'}"


def test_trace_socket_with_a_path_that_is_too_long(site: Path) -> None:
    edit(site, "run/trace.sock", "run/" + "x" * 110)
    path = site / "run" / ("x" * 110)
    assert "at most 107 bytes" in only(site).problem.expected
    with socket.socket(socket.AF_UNIX) as unix, pytest.raises(OSError, match="too long"):
        unix.bind(os.fspath(path))


def test_hosts_file_that_is_missing(site: Path) -> None:
    add(site, '[resolver]\nhosts = "hosts"\n')
    assert only(site).problem.key == "resolver.hosts"


@pytest.mark.parametrize("name", ["sipmesh.toml", "."])
def test_configuration_that_everybody_may_write(site: Path, name: str) -> None:
    path = (site / name).resolve()
    path.chmod(path.stat().st_mode | 0o002)
    problem = only(site).problem
    assert str(path) in problem.got
    assert problem.remedy == f"chmod o-w {path}"


# All in one run -------------------------------------------------------------------------------------------


def check(site: Path) -> Result:
    return CliRunner().invoke(sipmesh, ["check", "--config", str(site / "sipmesh.toml")])


def test_everything_is_found_in_one_run(site: Path) -> None:
    edit(site, "[trace]", "[limits]\nmessage = 'big'\n[trace]")
    edit(site, '"routing.registered"', '"routing.registred"')
    edit(site, 'names = ["fe1.a.example"]', "nmaes = []")
    install(site, certified(site, [x509.DNSName("fe2.a.example")], [ExtendedKeyUsageOID.SERVER_AUTH]))
    (site / f"{NAME}.key").chmod(0o644)
    (site / "users.db").unlink()
    (site / "run").rmdir()
    add(site, PARTNER)
    result = check(site)
    assert result.exit_code == 1
    for key in (
        "limits.message",
        "routing[0].policy",
        "server_list[0].names",
        "server_list[0].nmaes",
        "tls.certificate: expected a certificate that proves server.name",
        "tls.certificate: expected extended key usage clientAuth",
        "tls.key",
        "users.database",
        "trace.socket",
        "federation[0]",
    ):
        assert f"error: {site / 'sipmesh.toml'}: {key}" in result.output
    assert "10 errors, 0 warnings" in result.output


def test_files_are_looked_at_although_another_section_is_wrong(site: Path) -> None:
    edit(site, f'name = "{NAME}"', "name = 5")
    (site / f"{NAME}.key").chmod(0o644)
    assert {f.problem.key for f in found(site)} == {"server.name", "tls.key"}


def test_configuration_that_is_missing_or_broken(site: Path, tmp_path: Path) -> None:
    missing = check(tmp_path)
    assert missing.exit_code == 1
    assert "sipmesh init" in missing.output
    (site / "sipmesh.toml").write_text("[server\n")
    assert "1 error, 0 warnings" in check(site).output


def test_warnings_alone_are_no_failure(site: Path) -> None:
    ca = authority(site)
    install(site, issue(ca, [NAME], NOW, days=10))
    result = check(site)
    assert result.exit_code == 0
    assert result.output.startswith("warning: ")
    assert "0 errors, 1 warning" in result.output


def test_secrets_never_show(site: Path) -> None:
    (site / f"{NAME}.key").chmod(0o644)
    output = check(site).output
    key = (site / f"{NAME}.key").read_text().splitlines()[1]
    assert key not in output
