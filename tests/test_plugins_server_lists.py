"""Which names are our own servers."""

from __future__ import annotations

from pathlib import Path

import pytest
from zope.interface.verify import verifyObject

from sipmesh.decisions import ENTERPRISE, Direction, Presented
from sipmesh.interfaces import ISecureServerList
from sipmesh_plugins.server_list_file import FileServerList
from sipmesh_plugins.server_list_static import StaticServerList


@pytest.fixture(params=["static", "file"])
def servers(request: pytest.FixtureRequest, tmp_path: Path) -> ISecureServerList:
    """The same list in both forms: fe1.a.example and fe2.a.example."""
    if request.param == "static":
        return StaticServerList(("FE1.a.example.", "fe2.a.example"))
    file = tmp_path / "servers.txt"
    file.write_text("# our servers\nFE1.a.example.\n\n  fe2.a.example  # the second\n")
    return FileServerList(file)


def inbound(*identities: str) -> Presented:
    return Presented(identities, (), "192.0.2.1", Direction.INBOUND)


def outbound(meant: str, *identities: str) -> Presented:
    return Presented(identities, (), "192.0.2.1", Direction.OUTBOUND, meant)


def test_it_is_a_server_list(servers: ISecureServerList) -> None:
    assert verifyObject(ISecureServerList, servers)


def test_a_listed_name_is_one_of_ours_if_the_enterprise_vouches_for_it(servers: ISecureServerList) -> None:
    server = servers.recognise(inbound("www.a.example", "fe2.a.example"))
    assert server is not None
    assert (server.name, server.anchors) == ("fe2.a.example", ENTERPRISE)
    assert "fe2.a.example" in server.because


@pytest.mark.parametrize(
    "name", ["fe3.a.example", "a.example", "x.fe1.a.example", "fe1.a.example.evil.example"]
)
def test_any_other_name_is_not(servers: ISecureServerList, name: str) -> None:
    assert servers.recognise(inbound(name)) is None
    assert servers.reach(name) is None


def test_no_name_is_not(servers: ISecureServerList) -> None:
    assert servers.recognise(inbound()) is None


def test_outbound_the_name_has_to_be_the_one_that_was_meant(servers: ISecureServerList) -> None:
    server = servers.recognise(outbound("fe1.a.example", "fe2.a.example", "fe1.a.example"))
    assert server is not None
    assert server.name == "fe1.a.example"
    assert servers.recognise(outbound("fe1.a.example", "fe2.a.example")) is None


def test_a_listed_name_may_be_reached(servers: ISecureServerList) -> None:
    reach = servers.reach("fe1.a.example")
    assert reach is not None
    assert (reach.name, reach.anchors, reach.next_hop, reach.partner) == (
        "fe1.a.example",
        ENTERPRISE,
        None,
        None,
    )
    assert "fe1.a.example" in reach.because


@pytest.mark.parametrize("name", ["*.a.example", "192.0.2.1", "fe1 a.example", ""])
def test_a_list_with_something_else_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"no host name|IP address"):
        StaticServerList(("fe1.a.example", name))


@pytest.mark.parametrize(
    "line", [b"*.a.example", b"fe1.a.example fe2.a.example", b"fe\xe4.a.example", b"192.0.2.1"]
)
def test_a_file_with_something_else_is_refused_by_file_and_line(tmp_path: Path, line: bytes) -> None:
    file = tmp_path / "servers.txt"
    file.write_bytes(b"fe1.a.example\n# comment\n" + line + b"\nfe2.a.example\n")
    with pytest.raises(ValueError, match=r"servers\.txt, line 3: "):
        FileServerList(file)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        FileServerList(tmp_path / "servers.txt")


def test_a_file_may_come_from_any_editor(tmp_path: Path) -> None:
    file = tmp_path / "servers.txt"
    file.write_bytes(b"\xef\xbb\xbffe1.a.example\r\nb\xc3\xbccher.example # \xe4\r\n")
    servers = FileServerList(file)
    assert servers.reach("fe1.a.example") is not None
    assert servers.reach("xn--bcher-kva.example") is not None
