"""What ``openssl s_client`` sees of our listeners: versions, suites, certificates demanded, sessions resumed."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from processes import PATIENCE, Company, Node, running, wait_for

from sipmesh.operator.authority import issue

_PORTS = {"both": 5061, "clients": 5062, "servers": 5063}
_MORE_LISTENERS = """
[[listen]]
endpoint = "tcp:5062:interface={address}"
peers = "clients"

[[listen]]
endpoint = "tcp:5063:interface={address}"
peers = "servers"
"""
_SERVER_LIST = """
[[server_list]]
policy = "server-list.static"
names = ["fe2.a.example"]
"""
# So that it is the server that refuses, and not this machine's OpenSSL before it.
_ANYTHING = "ALL:COMPLEMENTOFALL@SECLEVEL=0"


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Company:
    return Company(tmp_path_factory.mktemp("a"), "a.example")


@pytest.fixture(scope="module")
def node(company: Company) -> Iterator[Node]:
    node = Node(company, "a.example", _SERVER_LIST)
    with (node.directory / "sipmesh.toml").open("a") as file:
        file.write(_MORE_LISTENERS.format(address=node.address))
    with running(node):
        yield node


def _command(node: Node, peers: str, *options: str) -> list[str]:
    ca = node.directory.parent / "ca.pem"
    return [
        *("openssl", "s_client", "-connect", f"{node.address}:{_PORTS[peers]}", "-CAfile", str(ca)),
        *("-verify_return_error", "-verify_hostname", "a.example", "-servername", "a.example", *options),
    ]


def _s_client(node: Node, peers: str, *options: str) -> str:
    """What a client prints that connects, has nothing to say, and hangs up."""
    done = subprocess.run(
        _command(node, peers, *options), input=b"", capture_output=True, timeout=PATIENCE, check=False
    )
    return (done.stdout + done.stderr).decode(errors="replace")


def _refused(node: Node, peers: str, *options: str) -> str:
    """The same, of one that waits until the server closes: with TLS 1.3 it is refused after its handshake."""
    return _s_client(node, peers, "-ign_eof", *options)


def _shown(credential: tuple[Path, Path]) -> tuple[str, ...]:
    return "-cert", str(credential[0]), "-key", str(credential[1])


@pytest.mark.parametrize("version", ["-tls1", "-tls1_1"])
def test_old_versions_are_refused(node: Node, version: str) -> None:
    assert "alert protocol version" in _s_client(node, "clients", version, "-cipher", _ANYTHING)


@pytest.mark.parametrize(("option", "version"), [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")])
@pytest.mark.parametrize("peers", ["both", "clients"])
def test_versions_of_today_are_accepted(node: Node, peers: str, option: str, version: str) -> None:
    seen = _s_client(node, peers, option)
    assert f"New, {version}" in seen
    assert "Verification: OK" in seen


@pytest.mark.parametrize("suites", ["kRSA", "aNULL:eNULL", "SHA1", "SHA256:SHA384", "kDHE"])
def test_weak_suites_are_refused(node: Node, suites: str) -> None:
    seen = _s_client(node, "clients", "-tls1_2", "-cipher", f"{suites}:@SECLEVEL=0")
    assert "alert handshake failure" in seen


def test_servers_have_to_show_a_certificate(node: Node) -> None:
    assert "alert handshake failure" in _refused(node, "servers", "-tls1_2")
    assert "alert certificate required" in _refused(node, "servers", "-tls1_3")


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
@pytest.mark.parametrize(("peers", "asked"), [("clients", False), ("both", True)])
def test_a_certificate_is_asked_for_where_servers_may_come(
    node: Node, peers: str, asked: bool, version: str
) -> None:
    seen = _s_client(node, peers, version, "-msg")
    assert "Verification: OK" in seen
    assert ("CertificateRequest" in seen) is asked


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
@pytest.mark.parametrize("peers", ["clients", "servers"])
def test_sessions_are_resumed(company: Company, node: Node, tmp_path: Path, peers: str, version: str) -> None:
    certificate = _shown(company.certificate("fe2.a.example")) if peers == "servers" else ()
    session = _session(node, tmp_path, peers, version, *certificate)
    assert "Reused, TLSv1." in _s_client(node, peers, version, "-sess_in", str(session), *certificate)


def test_a_clients_session_does_not_pass_for_a_servers(node: Node, tmp_path: Path) -> None:
    session = _session(node, tmp_path, "clients", "-tls1_3")
    seen = _refused(node, "servers", "-tls1_3", "-sess_in", str(session))
    assert "Reused" not in seen
    assert "alert certificate required" in seen


def _session(node: Node, tmp_path: Path, peers: str, *options: str) -> Path:
    """A session, saved; TLS 1.3 sends it some time after the handshake."""
    file = tmp_path / "session"
    with subprocess.Popen(
        _command(node, peers, *options, "-sess_out", str(file)),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as client:
        try:
            wait_for(lambda: file.exists() and b"END SSL" in file.read_bytes(), "no session came")
        finally:
            client.kill()
    return file


def test_a_certificate_of_another_ca_is_refused_and_the_log_says_which(tmp_path: Path, node: Node) -> None:
    other = Company(tmp_path, "other.example")
    for peers in ("servers", "both"):
        assert "alert unknown ca" in _refused(
            node, peers, *_shown(other.certificate(f"{peers}.other.example"))
        )
        line = node.wait_for_log(f"CN={peers}.other.example")
        assert "its issuer is not one of our trust anchors" in line
        assert "issued by 'CN=CA of other.example'" in line


def test_an_expired_certificate_is_refused_and_the_log_says_so(
    company: Company, node: Node, tmp_path: Path
) -> None:
    old = issue(company.authority, ("old.a.example",), datetime.now(UTC) - timedelta(days=5000))
    certificate, key = tmp_path / "old.pem", tmp_path / "old.key"
    certificate.write_bytes(old.certificate_pem)
    key.write_bytes(old.key_pem)
    assert "alert certificate expired" in _refused(node, "servers", *_shown((certificate, key)))
    assert "it has expired" in node.wait_for_log("CN=old.a.example")
