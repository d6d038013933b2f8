"""A server composed in Python: what it needs, what it is called in messages, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from attrs import evolve, frozen
from processes import Company
from twisted.internet.testing import MemoryReactorClock
from zope.interface import implementer

from sipmesh.decisions import RequestContext
from sipmesh.interfaces import IRoutingPolicy
from sipmesh.server.configuration import Configuration, Listen, PolicySection, Resolver, Server, Tls, Trust
from sipmesh.server.policies import Policies, load_policies
from sipmesh.server.problems import ConfigurationError
from sipmesh.server.service import SipMeshService
from sipmesh.sip import Request
from sipmesh_plugins.routing_registered import RegisteredUsers
from sipmesh_plugins.server_list_static import StaticServerList


@implementer(IRoutingPolicy)
@frozen
class Quiet:
    def route(self, request: Request, context: RequestContext) -> None:
        """Has no opinion."""


@frozen
class NoPolicy:
    pass


@pytest.fixture(scope="module")
def configuration(tmp_path_factory: pytest.TempPathFactory) -> Configuration:
    company = Company(tmp_path_factory.mktemp("a"), "a.example")
    return Configuration(
        server=Server(name="a.example", domains=("a.example",)),
        tls=Tls(*company.certificate("a.example")),
        trust=Trust(enterprise=(company.ca,)),
        listen=(Listen("tcp:5061", peers="both"),),
        resolver=Resolver(servers=("127.0.0.1:9",)),
    )


def problems(configuration: Configuration, policies: Policies) -> list[str]:
    reactor: Any = MemoryReactorClock()
    with pytest.raises(ConfigurationError) as caught:
        SipMeshService(reactor, configuration, policies)
    assert reactor.tcpServers == []
    return [str(problem) for problem in caught.value.problems]


def test_server_tls_and_listen_are_enough(configuration: Configuration) -> None:
    reactor: Any = MemoryReactorClock()
    service = SipMeshService(reactor, configuration, Policies(routing=(Quiet(), RegisteredUsers())))
    service.startService()
    assert [port for port, *_ in reactor.tcpServers] == [5061]


def test_policies_are_called_as_their_classes_are() -> None:
    assert Policies(routing=(Quiet(), RegisteredUsers())).routing_names == ("Quiet", "RegisteredUsers")


def test_policies_from_sections_are_called_as_there(configuration: Configuration) -> None:
    sections = (
        PolicySection("routing.registered", "routing[0]"),
        PolicySection(f"{__name__}:Quiet", "routing[1]"),
    )
    policies = load_policies(evolve(configuration, routing=sections))
    assert policies.routing_names == ("routing.registered", f"{__name__}:Quiet")


def test_what_breaks_its_interface_is_refused(configuration: Configuration) -> None:
    wrong = NoPolicy()
    policies = Policies(server_lists=(StaticServerList(["a.example"]), wrong), routing=(wrong,), users=wrong)  # type: ignore[arg-type]  # that is the point
    said = problems(configuration, policies)
    keys = [line.split(": ")[1] for line in said]
    assert set(keys) == {"server_list", "routing", "users"}
    assert all(line.startswith("<Python>: ") for line in said)
    assert any(
        "expected NoPolicy to provide IRoutingPolicy, got one that doesn't say so" in line for line in said
    )
    assert any("StaticServerList" in line for line in said) is False


def test_certificates_that_cannot_be_used_are_said(configuration: Configuration, tmp_path: Path) -> None:
    nothing = tmp_path / "none.pem"
    (said,) = problems(evolve(configuration, trust=Trust(enterprise=(nothing,))), Policies())
    assert said.startswith("<Python>: trust.enterprise: expected PEM files")
    (said,) = problems(evolve(configuration, tls=evolve(configuration.tls, certificate=nothing)), Policies())
    assert str(nothing) in said
