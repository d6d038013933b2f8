"""``sipmesh.toml``: its sections as attrs classes, each attribute a key.

:func:`sipmesh.server.loading.load` reads it, strictly.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from attrs import field, frozen

from .rules import Between, DnsServer, HostName, Printable, ServerEndpoint, Some

Seconds = Annotated[float, Between(0.001, unit="seconds")]
WholeSeconds = Annotated[int, Between(1, 2**32 - 1, unit="seconds")]  # RFC 3261 §20.19: delta-seconds
Name = Annotated[str, HostName()]

PYTHON = Path("<Python>")
"""What messages call a configuration that was read from no file, as Python does with code."""


@frozen
class Server:
    """``[server]``: who we are.

    :ivar name: the DNS name in our certificate; goes into Via, Record-Route and Path. Required.
    :ivar domains: the SIP domains that this server is responsible for; empty for a pure edge. Required.
    :ivar port: the port on which other servers reach us, as it goes into Via, Record-Route and Path. Where
        port forwarding stands in front this is the outer port.
    """

    name: Name
    domains: tuple[Name, ...]
    port: Annotated[int, Between(1, 65535)] = 5061


@frozen
class Tls:
    """``[tls]``: what we show to others, to clients and servers alike.

    :ivar certificate: PEM file: our certificate first, then the intermediate ones up to the root. Required.
    :ivar key: PEM file with its private key, unencrypted, readable by the server's user alone. Required.
    :ivar minimum: the lowest version of TLS that is spoken.
    """

    certificate: Path
    key: Path
    minimum: Literal["1.2", "1.3"] = "1.2"


@frozen
class Trust:
    """``[trust]``: who vouches for our own servers. A federation partner's CA is named with the partner.

    :ivar enterprise: PEM files with the CA certificates of our own servers. Where there are none, no server
        is trusted as one of ours.
    """

    enterprise: tuple[Path, ...] = ()


@frozen
class Listen:
    """``[[listen]]``: a port, one section each; at least one is required.

    :ivar endpoint: where, as a Twisted server endpoint string: ``tcp:5061:interface=192.0.2.1``,
        ``tcp6:5061``, ``systemd:domain=INET:index=0``. TLS is put on top. Required.
    :ivar peers: who may connect: ``clients`` (no certificate is asked for), ``servers`` (one is demanded) or
        ``both`` (one is asked for; who shows none is a client). Required, as it is a decision about trust.
    """

    endpoint: Annotated[str, ServerEndpoint()]
    peers: Literal["clients", "servers", "both"]


@frozen
class PolicySection:
    """A section that names a policy; what else stands in it are the attributes of the policy's class.

    :ivar policy: the name of an installed policy (``sipmesh policies`` lists them), or ``module:Class``.
    :ivar key: where the section stands in the file, for messages: ``routing[0]``.
    :ivar keys: what else stands in it, not yet checked: see :func:`sipmesh.server.policies.load_policy`.
    """

    policy: str
    key: str
    keys: Mapping[str, object] = field(factory=dict, repr=False)


@frozen
class Users:
    """What ``[users]`` says to the registrar and the proxy; the rest of the section is its policy's.

    :ivar realm: what a challenge names (RFC 3261 §22.1); default: the first of ``server.domains``.
    :ivar algorithms: the digest algorithms to challenge with, most wanted first (RFC 8760).
    """

    realm: Annotated[str, Printable()] | None = None
    algorithms: Annotated[tuple[Literal["SHA-256", "MD5"], ...], Some()] = ("SHA-256", "MD5")


@frozen
class Registrar:
    """``[registrar]``: bounds on registrations (RFC 3261 §10.3).

    :ivar minimum: seconds; who asks for less gets 423 with Min-Expires. At most an hour (§10.3 step 6).
    :ivar maximum: seconds; who asks for more gets this.
    :ivar default: seconds, for who doesn't ask.
    :ivar contacts: at most so many contacts for an address of record.
    """

    minimum: Annotated[int, Between(1, 3600, unit="seconds")] = 60
    maximum: WholeSeconds = 7200
    default: WholeSeconds = 3600
    contacts: Annotated[int, Between(1, 1000)] = 10


@frozen
class Resolver:
    """``[resolver]``: how names are found (RFC 3263).

    :ivar servers: DNS servers to ask, ``192.0.2.53``, ``192.0.2.53:5353`` or ``[2001:db8::53]:53``; where
        there are none, those of the system.
    :ivar hosts: a file like ``/etc/hosts``, looked into before DNS is asked; None for no such file.
    """

    servers: tuple[Annotated[str, DnsServer()], ...] = ()
    hosts: Path | None = None


@frozen
class Limits:
    """``[limits]``: bounds on what a peer may take from us. What goes beyond is cut, and logged.

    :ivar message: bytes in a whole message.
    :ivar head: bytes in its start line and header fields.
    :ivar fields: header fields in a message.
    :ivar field: bytes in one header field.
    :ivar partial: seconds from a message's first byte to its last.
    :ivar handshake: seconds from a connection's start to the end of its TLS handshake.
    :ivar connections_per_address: connections from one IP address at a time.
    :ivar idle: seconds after which a connection that carried nothing is closed. The default is a bit more
        than that of ``registrar.maximum``, so that no registered client is cut off.
    """

    message: Annotated[int, Between(1024, 16 * 1024 * 1024, unit="bytes")] = 65536
    head: Annotated[int, Between(1024, 1024 * 1024, unit="bytes")] = 32768
    fields: Annotated[int, Between(20, 10000)] = 200
    field: Annotated[int, Between(256, 1024 * 1024, unit="bytes")] = 8192
    partial: Seconds = 10.0
    handshake: Seconds = 10.0
    connections_per_address: Annotated[int, Between(1)] = 1000
    idle: Seconds = 7500.0


@frozen
class Trace:
    """``[trace]``: where ``sipmesh trace`` looks in.

    :ivar socket: the path of a Unix socket, for its owner alone; None for no such socket.
    """

    socket: Path | None = None


@frozen
class Configuration:
    """All of ``sipmesh.toml``, or what was composed in Python in its place.

    In Python ``server``, ``tls`` and ``listen`` are enough. The policies are then objects, in a
    :class:`.Policies`; ``users``, ``location``, ``server_list``, ``federation`` and ``routing``, which name
    policies that are still to be built, are left out.

    :ivar server: see :class:`Server`.
    :ivar tls: see :class:`Tls`.
    :ivar listen: at least one, see :class:`Listen`.
    :ivar trust: see :class:`Trust`.
    :ivar user_settings: see :class:`Users`.
    :ivar users: the policy of ``[users]``; None on a server that has no users.
    :ivar location: the policy of ``[location]``; None on a server that registers nobody.
    :ivar registrar: see :class:`Registrar`.
    :ivar server_list: ``[[server_list]]``, asked in this order.
    :ivar federation: ``[[federation]]``, asked in this order.
    :ivar routing: ``[[routing]]``, asked in this order.
    :ivar resolver: see :class:`Resolver`.
    :ivar limits: see :class:`Limits`.
    :ivar trace: see :class:`Trace`.
    :ivar file: where it was read; what messages call it if it was read nowhere.
    """

    server: Server
    tls: Tls
    listen: tuple[Listen, ...]
    trust: Trust = Trust()
    user_settings: Users = Users()
    users: PolicySection | None = None
    location: PolicySection | None = None
    registrar: Registrar = Registrar()
    server_list: tuple[PolicySection, ...] = ()
    federation: tuple[PolicySection, ...] = ()
    routing: tuple[PolicySection, ...] = ()
    resolver: Resolver = Resolver()
    limits: Limits = Limits()
    trace: Trace = Trace()
    file: Path = PYTHON

    @property
    def realm(self) -> str | None:
        """The realm of challenges; None where neither it nor a domain is given: nobody can be challenged."""
        return self.user_settings.realm or next(iter(self.server.domains), None)
