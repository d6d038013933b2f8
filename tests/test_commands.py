"""The sipmesh command: what it makes, what it refuses, and what it tells a stranger."""

from __future__ import annotations

import os
import pty
import select
import sqlite3
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID

from sipmesh.decisions import ENTERPRISE, TrustAnchors
from sipmesh.operator.authority import create_authority, issue, read_credential
from sipmesh.operator.commands import sipmesh
from sipmesh.server.loading import load
from sipmesh.server.policies import load_policies
from sipmesh.sip.digest import MD5, SHA_256, ha1
from sipmesh.trust.anchors import AnchorSets, load_certificates
from sipmesh.trust.identities import identities

NOW = datetime.now(UTC)


def run(*args: str | Path, given: str | None = None, status: int = 0) -> Result:
    result = CliRunner().invoke(sipmesh, [str(arg) for arg in args], input=given)
    assert result.exit_code == status, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def process(*args: str | Path, cwd: Path, given: str = "") -> subprocess.CompletedProcess[str]:
    """The command as a process of its own, as the installed script runs it."""
    script = "from sipmesh.operator.commands import main; main()"
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, args)],
        cwd=cwd,
        input=given,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )


@pytest.fixture
def site(tmp_path: Path) -> Path:
    directory = tmp_path / "site"
    run("init", directory, "--name", "fe1.a.example", "--domain", "a.example")
    return directory


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def contents(directory: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


# init -----------------------------------------------------------------------------------------------------


def test_init_makes_a_directory_that_passes_check_at_once(site: Path) -> None:
    result = run("check", "--config", site / "sipmesh.toml")
    assert "0 errors, 1 warning" in result.output
    assert "add the first with `sipmesh user add`" in result.output


def test_init_keeps_secrets_for_the_owner(site: Path) -> None:
    assert mode(site) == 0o700
    assert mode(site / "run") == 0o700
    for name in ("ca.key", "fe1.a.example.key", "users.db"):
        assert mode(site / name) == 0o600, name
    assert mode(site / "ca.pem") == 0o644


def test_init_keeps_secrets_under_any_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        run("init", tmp_path / "site", "--name", "fe1.a.example", "--domain", "a.example")
    finally:
        os.umask(before)
    assert mode(tmp_path / "site") == 0o700
    assert mode(tmp_path / "site" / "ca.key") == mode(tmp_path / "site" / "users.db") == 0o600


def test_init_configures_what_it_was_told(site: Path) -> None:
    c = load(site / "sipmesh.toml")
    assert (c.server.name, c.server.domains, c.realm) == ("fe1.a.example", ("a.example",), "a.example")
    policies = load_policies(c)
    assert policies.users is not None
    assert policies.locations is not None
    assert len(policies.server_lists) == 1
    assert len(policies.routing) == 2
    assert policies.federation == ()


def test_init_commented_defaults_are_the_real_ones(site: Path) -> None:
    file = site / "sipmesh.toml"
    before = load(file)
    lines = file.read_text().splitlines()
    sections = ("# [limits]", "# [registrar]", "# port", "# minimum", "# realm", "# algorithms")
    known = (*sections, "# maximum", "# default", "# contacts", "# message", "# connections", "# handshake")
    file.write_text("\n".join(line[2:] if line.startswith(known) else line for line in lines))
    after = load(file)
    assert file.read_text() != "\n".join(lines)
    assert (after.server, after.tls, after.limits, after.registrar) == (
        before.server,
        before.tls,
        before.limits,
        before.registrar,
    )
    assert (after.realm, after.user_settings.algorithms) == (before.realm, before.user_settings.algorithms)


def test_init_commented_federation_is_an_example_that_works(site: Path) -> None:
    file = site / "sipmesh.toml"
    known = ("# [[federation", '# policy = "federation', "# domain", "# ca")
    lines = file.read_text().splitlines()
    file.write_text("\n".join(line[2:] if line.startswith(known) else line for line in lines))
    assert len(load_policies(load(file)).federation) == 1


def test_init_without_domain_makes_a_server_without_users(tmp_path: Path) -> None:
    run("init", tmp_path / "edge", "--name", "edge.a.example")
    c = load(tmp_path / "edge" / "sipmesh.toml")
    assert c.users is None
    assert not (tmp_path / "edge" / "users.db").exists()
    assert "0 errors, 0 warnings" in run("check", "--config", c.file).output


def test_init_overwrites_nothing(site: Path) -> None:
    before = contents(site)
    result = run("init", site, "--name", "fe1.a.example", "--domain", "a.example", status=1)
    for name in ("sipmesh.toml", "ca.pem", "ca.key", "fe1.a.example.pem", "users.db"):
        assert str(site / name) in result.output
    assert contents(site) == before


def test_init_with_the_ca_of_a_first_server(site: Path, tmp_path: Path) -> None:
    second = tmp_path / "second"
    run("init", second, "--name", "fe2.a.example", "--domain", "a.example", "--ca", site)
    assert not (second / "ca.key").exists()
    assert (second / "ca.pem").read_bytes() == (site / "ca.pem").read_bytes()
    anchors = AnchorSets([TrustAnchors(ENTERPRISE, load_certificates(site / "ca.pem"), "ca.pem")])
    assert anchors.verify(ENTERPRISE, load_certificates(second / "fe2.a.example.pem")) is None


def test_init_with_a_ca_that_is_not_there_makes_nothing(tmp_path: Path) -> None:
    result = run("init", tmp_path / "s", "--name", "fe1.a.example", "--ca", tmp_path, status=1)
    assert "sipmesh ca create" in result.output
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("name", ["192.0.2.1", "*.a.example", "a b", "../x", ""])
def test_init_needs_a_dns_name(tmp_path: Path, name: str) -> None:
    result = run("init", tmp_path / "s", "--name", name, status=2)
    assert "is not a DNS name" in result.output
    assert not (tmp_path / "s").exists()


def test_init_tells_the_next_steps(tmp_path: Path) -> None:
    output = run("init", tmp_path / "s", "--name", "fe1.a.example", "--domain", "a.example").output
    for step in (
        "cd ",
        "sipmesh user add alice@a.example",
        "sipmesh check",
        "twistd --nodaemon sipmesh",
        "ca.pem",
    ):
        assert step in output


# ca -------------------------------------------------------------------------------------------------------


def test_ca_is_for_issuing_to_servers_only(site: Path) -> None:
    (ca,) = load_certificates(site / "ca.pem")
    basic = ca.extensions.get_extension_for_class(x509.BasicConstraints)
    usage = ca.extensions.get_extension_for_class(x509.KeyUsage)
    assert basic.critical
    assert (basic.value.ca, basic.value.path_length) == (True, 0)
    assert usage.critical
    assert usage.value.key_cert_sign
    assert usage.value.crl_sign
    assert not usage.value.digital_signature
    assert ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    assert isinstance(ca.public_key(), ec.EllipticCurvePublicKey)


def test_server_certificate_proves_its_names_for_both_directions(site: Path) -> None:
    (ca,), (server,) = load_certificates(site / "ca.pem"), load_certificates(site / "fe1.a.example.pem")
    assert identities(server) == ("fe1.a.example", "a.example")
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["fe1.a.example", "a.example"]
    purposes = server.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(purposes) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    assert not server.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    authority = server.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    assert (
        authority.key_identifier
        == ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    )
    key = load_pem_private_key((site / "fe1.a.example.key").read_bytes(), None)
    assert key.public_key() == server.public_key()
    assert server.not_valid_before_utc < NOW < server.not_valid_after_utc


def test_openssl_verifies_what_is_issued(site: Path) -> None:
    verified = subprocess.run(
        [
            "openssl",
            "verify",
            "-x509_strict",
            "-purpose",
            "sslclient",
            "-CAfile",
            "ca.pem",
            "fe1.a.example.pem",
        ],
        cwd=site,
        capture_output=True,
        text=True,
        check=False,
    )
    assert verified.stdout == "fe1.a.example.pem: OK\n", verified.stderr


def test_ca_create_and_issue(tmp_path: Path) -> None:
    run("ca", "create", "--name", "A's CA", "--days", "100", "--out", tmp_path / "ca")
    out = tmp_path / "fe2"
    run(
        "ca",
        "issue",
        "FE2.a.example",
        "--san",
        "a.example",
        "--days",
        "10",
        "--ca",
        tmp_path / "ca",
        "--out",
        out,
    )
    assert mode(tmp_path / "ca" / "ca.key") == mode(out / "fe2.a.example.key") == 0o600
    (server,) = load_certificates(out / "fe2.a.example.pem")
    assert identities(server) == ("fe2.a.example", "a.example")
    assert timedelta(days=9) < server.not_valid_after_utc - NOW < timedelta(days=11)
    assert server.issuer.rfc4514_string() == "CN=A's CA"


def test_ca_never_outlives_itself(tmp_path: Path) -> None:
    ca = create_authority("CA", NOW, days=5)
    server = issue(ca, ["fe1.a.example"], NOW, days=365)
    assert server.certificate.not_valid_after_utc == ca.certificate.not_valid_after_utc
    with pytest.raises(ValueError, match="expired"):
        issue(ca, ["fe1.a.example"], NOW + timedelta(days=6))


def test_ca_issue_for_a_name_too_long_for_a_common_name() -> None:
    name = ".".join(["a" * 60, "b" * 60, "example"])
    certificate = issue(create_authority("CA", NOW), [name], NOW).certificate
    assert identities(certificate) == (name,)
    assert certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).critical


def test_ca_overwrites_nothing(site: Path) -> None:
    before = contents(site)
    assert "ca.key" in run("ca", "create", "--out", site, status=1).output
    assert (
        "fe1.a.example.key"
        in run("ca", "issue", "fe1.a.example", "--ca", site, "--out", site, status=1).output
    )
    assert contents(site) == before


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda site: (site / "ca.key").unlink(), "No such file"),
        (lambda site: (site / "ca.key").write_text("garbage"), "not a CA that can be used"),
        (lambda site: (site / "ca.pem").write_text("garbage"), "not a CA that can be used"),
        (
            lambda site: (site / "ca.key").write_bytes((site / "fe1.a.example.key").read_bytes()),
            "the key is not that of the certificate",
        ),
        (
            lambda site: [
                (site / f"ca.{kind}").write_bytes((site / f"fe1.a.example.{kind}").read_bytes())
                for kind in ("pem", "key")
            ],
            "the certificate is not a CA's",
        ),
    ],
)
def test_ca_issue_says_what_is_wrong_with_the_ca(site: Path, spoil: object, told: str) -> None:
    spoil(site)  # type: ignore[operator]
    result = run("ca", "issue", "fe2.a.example", "--ca", site, "--out", site / "out", status=1)
    assert told in result.output
    assert not (site / "out").exists()


def test_encrypted_ca_key_is_refused_in_words() -> None:
    ca = create_authority("CA", NOW)
    encrypted = ca.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
    with pytest.raises(ValueError, match="encrypted"):
        read_credential(ca.certificate_pem, encrypted)


def test_key_never_shows() -> None:
    ca = create_authority("CA", NOW)
    assert repr(ca) == f"Credential(certificate={ca.certificate!r})"


# user -----------------------------------------------------------------------------------------------------


def test_user_is_added_listed_and_removed(site: Path) -> None:
    config = ("--config", site / "sipmesh.toml")
    run("user", "add", "alice@a.example", "--password-stdin", *config, given="wonderland\n")
    run("user", "add", "sip:Bob@A.example", "--password-stdin", *config, given="builder\nignored")
    listed = run("user", "list", *config).output.splitlines()
    assert [line.split("\t")[:3] for line in listed] == [
        ["sip:Bob@a.example", "a.example", "SHA-256,MD5"],
        ["sip:alice@a.example", "a.example", "SHA-256,MD5"],
    ]
    run("user", "remove", "alice@a.example", *config)
    assert "alice" not in run("user", "list", *config).output


def stored_hashes(site: Path) -> tuple[str, str | None]:
    with sqlite3.connect(site / "users.db") as connection:
        row: tuple[str, str | None] = connection.execute("SELECT ha1_sha256, ha1_md5 FROM users").fetchone()
        return row


def test_password_is_stored_for_the_realm_and_algorithms_of_the_configuration(site: Path) -> None:
    file = site / "sipmesh.toml"
    file.write_text(
        file.read_text()
        .replace('# realm = "a.example"', 'realm = "A"')
        .replace('# algorithms = ["SHA-256", "MD5"]', 'algorithms = ["SHA-256"]')
    )
    run("user", "add", "alice@a.example", "--password-stdin", "--config", file, given="wonderland\n")
    assert stored_hashes(site) == (ha1(SHA_256, "alice", "A", "wonderland"), None)


def test_passwd_changes_the_password(site: Path) -> None:
    config = ("--config", site / "sipmesh.toml")
    run("user", "add", "alice@a.example", "--password-stdin", *config, given="old\n")
    run("user", "passwd", "alice@a.example", "--password-stdin", *config, given="new\n")
    assert stored_hashes(site) == (
        ha1(SHA_256, "alice", "a.example", "new"),
        ha1(MD5, "alice", "a.example", "new"),
    )


def test_password_is_prompted_for_hidden_and_twice(site: Path) -> None:
    config = ("--config", site / "sipmesh.toml")
    result = run("user", "add", "alice@a.example", *config, given="wonderland\nwonderland\n")
    assert "wonderland" not in result.output
    assert stored_hashes(site)[0] == ha1(SHA_256, "alice", "a.example", "wonderland")
    run("user", "passwd", "alice@a.example", *config, given="one\ntwo\n", status=1)
    assert stored_hashes(site)[0] == ha1(SHA_256, "alice", "a.example", "wonderland")


def test_password_is_no_argument(site: Path) -> None:
    result = run("user", "add", "alice@a.example", "wonderland", "--config", site / "sipmesh.toml", status=2)
    assert "unexpected extra argument" in result.output


def test_password_typed_into_the_address_is_not_repeated(site: Path) -> None:
    result = run("user", "add", "alice:won derland@a.example", "--config", site / "sipmesh.toml", status=2)
    assert "derland" not in result.output


@pytest.mark.parametrize("command", ["passwd", "remove"])
def test_unknown_user_is_told(site: Path, command: str) -> None:
    config = ("--config", site / "sipmesh.toml")
    run("user", "add", "bob@a.example", "--password-stdin", *config, given="x\n")
    for aor in ("alice@a.example", "bob@b.example"):
        assert "there is no user" in run("user", command, aor, *config, given="x\n", status=1).output
    assert "bob" in run("user", "list", *config).output


def test_user_twice_is_told(site: Path) -> None:
    args = ("user", "add", "bob@a.example", "--password-stdin", "--config", site / "sipmesh.toml")
    run(*args, given="x\n")
    assert "already" in run(*args, given="y\n", status=1).output


def test_user_of_another_domain_is_refused(site: Path) -> None:
    result = run("user", "add", "eve@b.example", "--config", site / "sipmesh.toml", status=1)
    assert "b.example is not a domain of this server (a.example)" in result.output


@pytest.mark.parametrize("aor", ["alice", "alice@", "alice@a.example;x=y", "alice@a.example:5061", "tel:+49"])
def test_what_is_no_address_of_record_is_refused(site: Path, aor: str) -> None:
    result = run("user", "add", aor, "--config", site / "sipmesh.toml", status=2)
    assert "such as alice@a.example" in result.output


def test_empty_password_is_refused(site: Path) -> None:
    config = ("--config", site / "sipmesh.toml")
    run("user", "add", "alice@a.example", "--password-stdin", *config, given="", status=1)
    run("user", "add", "alice@a.example", "--password-stdin", *config, given="\n", status=1)
    assert run("user", "list", *config).output == ""


def test_user_on_a_server_without_users(tmp_path: Path) -> None:
    run("init", tmp_path / "edge", "--name", "edge.a.example")
    result = run("user", "list", "--config", tmp_path / "edge" / "sipmesh.toml", status=1)
    assert "no [users] section" in result.output


def test_user_says_what_is_wrong_with_the_configuration(site: Path) -> None:
    (site / "sipmesh.toml").write_text("[server]\nport = 'x'\n")
    result = run("user", "list", "--config", site / "sipmesh.toml", status=1)
    assert "server.port: expected a whole number" in result.output


def test_users_of_another_policy_are_left_to_it(site: Path) -> None:
    (site / "company_users.py").write_text(
        "from attrs import frozen\n"
        "from twisted.cred.checkers import ICredentialsChecker\n"
        "from zope.interface import implementer\n"
        "@implementer(ICredentialsChecker)\n"
        "@frozen\n"
        "class Directory:\n"
        "    database: str\n"
        "    credentialInterfaces = ()\n"
        "    def requestAvatarId(self, credentials): ...\n"
    )
    file = site / "sipmesh.toml"
    file.write_text(file.read_text().replace('"users.sqlite"', '"company_users:Directory"'))
    result = process("user", "list", cwd=site)
    assert result.returncode == 1
    assert "come from the policy company_users:Directory" in result.stderr


# policies and help ----------------------------------------------------------------------------------------


def test_policies_tells_name_part_origin_and_keys() -> None:
    output = run("policies").output
    assert "federation.allow: partners by domain" in output
    assert "in [[federation]], provides IFederationPolicy" in output
    assert "federation_allow.py" in output
    assert "partners: a list, each a table, required" in output
    assert "        next_hop: a sip or sips URI, optional" in output
    assert "in [users], provides ICredentialsChecker" in output
    assert "can't be used" not in output
    assert "``" not in output
    assert ":class:" not in output


@pytest.mark.parametrize(
    "command",
    [(), ("init",), ("ca",), ("ca", "create"), ("ca", "issue"), ("user",), ("user", "add"), ("check",)],
)
def test_help_is_there_for_every_command(command: tuple[str, ...]) -> None:
    result = run(*command, "--help")
    assert "Usage: sipmesh" in result.output
    assert len(result.output.splitlines()) > 6


def test_every_option_is_explained() -> None:
    def walk(command: click.Command) -> list[click.Option]:
        options = [p for p in command.params if isinstance(p, click.Option)]
        for nested in getattr(command, "commands", {}).values():
            options += walk(nested)
        return options

    options = walk(sipmesh)
    assert len(options) > 10
    assert [option.name for option in options if not option.help] == []


def test_from_nothing_to_a_checked_server_as_real_processes(tmp_path: Path) -> None:
    made = process("init", "site", "--name", "fe1.a.example", "--domain", "a.example", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    site = tmp_path / "site"
    added = process("user", "add", "alice@a.example", "--password-stdin", cwd=site, given="wonderland\n")
    assert (added.returncode, added.stderr) == (0, "")
    checked = process("check", cwd=site)
    assert (checked.returncode, checked.stdout) == (0, "sipmesh.toml: 0 errors, 0 warnings\n")
    listed = process("policies", cwd=tmp_path)
    assert (listed.returncode, listed.stderr) == (0, "")
    wrong = process("check", "--cofnig", "x", cwd=site)
    assert wrong.returncode == 2
    assert "--config" in wrong.stderr


def test_prompt_on_a_real_terminal_echoes_nothing(site: Path) -> None:
    script = "from sipmesh.operator.commands import main; main()"
    args = [
        sys.executable,
        "-c",
        script,
        "user",
        "add",
        "alice@a.example",
        "--config",
        str(site / "sipmesh.toml"),
    ]
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
        os.execv(sys.executable, args)
    seen = b""
    answered = 0
    try:
        while True:
            assert select.select([terminal], [], [], 60)[0], f"silence after {seen!r}"
            try:
                chunk = os.read(terminal, 1024)
            except OSError:  # Linux: the other end is closed
                break
            if not chunk:
                break
            seen += chunk
            if seen.count(b":") > answered and seen.endswith(b": "):
                answered = seen.count(b":")
                os.write(terminal, b"wonderland\n")
    finally:
        _, status = os.waitpid(pid, 0)
        os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 0, seen
    assert b"wonderland" not in seen
    assert b"added sip:alice@a.example" in seen
