"""Put the parts together: from a configuration and its policies to a proxy that has no port open yet."""

from __future__ import annotations

import secrets
import time

from attrs import frozen
from OpenSSL import SSL
from twisted.cred.portal import Portal
from twisted.internet.interfaces import IReactorCore, IReactorTCP, IReactorTime, IReactorUDP

from ..decisions import ENTERPRISE, TrustAnchors
from ..interfaces import ILifecycle
from ..proxy.admission import Admission
from ..proxy.authenticate import Authenticator
from ..proxy.core import Decisions, Proxy, Register
from ..proxy.reaching import Reaching
from ..proxy.routing_chain import RoutingChain
from ..proxy.site import Site
from ..proxy.tokens import RouteTokens
from ..proxy.trace import Tracer
from ..proxy.users import UserRealm
from ..registrar.registrar import Registrar, RegistrationBounds
from ..resolver import DnsClient, Locator, make_dns
from ..sip.digest import NonceFactory
from ..sip.framing import Limits as FramingLimits
from ..transaction.wheel import TimerWheel
from ..transport.contexts import ConnectorTLS, ListenerTLS, OwnCertificate, Peers
from ..transport.flow import FlowLimits
from ..transport.pool import FlowPool
from ..trust.anchors import AnchorSets, load_certificates
from ..trust.judge import Judge
from .configuration import Configuration
from .policies import Policies
from .problems import ConfigurationError, Problem
from .rules import host_and_port

NONCE_LIFETIME = 300.0
"""Seconds. A client proves itself once a flow, so a nonce is for that moment and need not last."""


class IReactor(IReactorCore, IReactorTCP, IReactorUDP, IReactorTime):
    """What a server needs of a reactor."""


@frozen
class Composition:
    """A server's parts, built and checked.

    :ivar listeners: the TLS side of each ``[[listen]]``, with its endpoint string.
    :ivar lifecycles: policies that hold something open, in the order in which to start them.
    """

    proxy: Proxy
    pool: FlowPool
    tracer: Tracer
    wheel: TimerWheel
    dns: DnsClient
    listeners: tuple[tuple[str, ListenerTLS], ...]
    lifecycles: tuple[ILifecycle, ...]


def compose(configuration: Configuration, policies: Policies, reactor: IReactor) -> Composition:
    """Build a server. Opens no port and starts nothing.

    :raises ConfigurationError: if certificates or anchors can't be used, with the file and what is wrong with it;
        or if a policy breaks its interface.
    """
    broken = tuple(policies.verify())
    if broken:
        raise ConfigurationError(broken)
    anchors = _anchor_sets(configuration, policies)
    judge = Judge(policies.server_lists, policies.federation, anchors)
    listeners, connector = _tls(configuration, anchors)
    wheel = TimerWheel(reactor.seconds)
    pool = FlowPool(reactor, reactor, connector, judge.decide, judge.client, _limits(configuration))
    site = Site(configuration.server.name, configuration.server.port, frozenset(configuration.server.domains))
    tokens = RouteTokens(secrets.token_bytes(32))
    tracer = Tracer(time.time, site.name)
    dns = _dns(configuration, reactor)
    reaching = Reaching(pool, Locator(dns, reactor), judge.reach, site, tokens)
    decisions = Decisions(
        admission=Admission(_authenticator(configuration, policies), policies.federation),
        routing=RoutingChain(tuple(zip(policies.routing_names, policies.routing, strict=True))),
        reach=judge.reach,
        locations=policies.locations,
        register=_register(configuration, policies, reaching),
    )
    proxy = Proxy(site, pool, reaching, tokens, decisions, wheel, tracer)
    pool.use(proxy)
    parts = (
        *policies.server_lists,
        *policies.federation,
        *policies.routing,
        policies.users,
        policies.locations,
    )
    lifecycles = tuple(ILifecycle(part) for part in parts if ILifecycle.providedBy(part))
    return Composition(proxy, pool, tracer, wheel, dns, listeners, lifecycles)


def _problem(
    configuration: Configuration, key: str, expected: str, got: object, remedy: str
) -> ConfigurationError:
    return ConfigurationError([Problem(configuration.file, key, expected, str(got), remedy)])


def _anchor_sets(configuration: Configuration, policies: Policies) -> AnchorSets:
    sets: list[TrustAnchors] = []
    enterprise = configuration.trust.enterprise
    try:
        if enterprise:
            certificates = tuple(c for path in enterprise for c in load_certificates(path))
            sets.append(TrustAnchors(ENTERPRISE, certificates, ", ".join(map(str, enterprise))))
    except (OSError, ValueError) as error:
        raise _problem(
            configuration, "trust.enterprise", "PEM files of CA certificates", error, ""
        ) from error
    try:
        sets += [anchors for policy in policies.federation for anchors in policy.anchors()]
        return AnchorSets(sets)
    except (OSError, ValueError) as error:
        raise _problem(
            configuration, "federation", "usable CA certificates of partners", error, ""
        ) from error


def _tls(
    configuration: Configuration, anchors: AnchorSets
) -> tuple[tuple[tuple[str, ListenerTLS], ...], ConnectorTLS]:
    tls = configuration.tls
    own = OwnCertificate(tls.certificate, tls.key, tls.minimum)
    everyone = anchors.all()
    try:
        # One context a role, shared by all listeners that have it.
        roles = {
            peers: ListenerTLS(own, everyone, Peers(peers))
            for peers in {one.peers for one in configuration.listen}
        }
        return tuple((one.endpoint, roles[one.peers]) for one in configuration.listen), ConnectorTLS(
            own, everyone
        )
    except SSL.Error as error:
        said = (
            "; ".join(reason for _, _, reason in error.args[0])
            if error.args and error.args[0]
            else "unreadable"
        )
        raise _problem(
            configuration,
            "tls",
            f"a PEM certificate in {tls.certificate} and its private key in {tls.key}",
            said,
            "`sipmesh check` says which of the two is wrong; `sipmesh ca issue` makes a new pair",
        ) from error


def _limits(configuration: Configuration) -> FlowLimits:
    given = configuration.limits
    framing = FramingLimits(given.message, given.head, given.fields, given.field, given.partial)
    return FlowLimits(
        framing, given.handshake, given.idle, connections_per_address=given.connections_per_address
    )


def _dns(configuration: Configuration, reactor: IReactor) -> DnsClient:
    given = configuration.resolver
    return make_dns(reactor, tuple(host_and_port(one) for one in given.servers), given.hosts)


def _authenticator(configuration: Configuration, policies: Policies) -> Authenticator | None:
    realm = configuration.realm
    if policies.users is None or realm is None:
        return None
    portal = Portal(UserRealm(next(iter(configuration.server.domains), realm)), [policies.users])
    nonces = NonceFactory(secrets.token_bytes(32), NONCE_LIFETIME)
    return Authenticator(portal, realm, nonces, configuration.user_settings.algorithms, time.time)


def _register(configuration: Configuration, policies: Policies, reaching: Reaching) -> Register | None:
    if policies.locations is None:
        return None
    given = configuration.registrar
    bounds = RegistrationBounds(given.minimum, given.maximum, given.default, given.contacts)
    return Registrar(policies.locations, bounds, time.time, reaching.is_gone).register
