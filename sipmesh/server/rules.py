"""What a key's value has to fulfil beyond its type, written as ``Annotated[int, Between(1, 65535)]``."""

from __future__ import annotations

import math
import re
from ipaddress import ip_address
from typing import Protocol, runtime_checkable

from attrs import frozen
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IStreamServerEndpointStringParser
from twisted.plugin import getPlugins

from ..trust.identities import normalize
from .problems import Unfit


@runtime_checkable
class Rule(Protocol):
    """Put an instance into ``Annotated`` metadata to have a key's value checked."""

    @property
    def expected(self) -> str:
        """What fits, to read after 'expected'."""

    def check(self, value: object) -> object:
        """The value, in its normal form.

        :raises Unfit: if it doesn't fit.
        """


@frozen
class Between:
    """A number within bounds, both included."""

    low: float
    high: float = math.inf
    unit: str = ""

    @property
    def expected(self) -> str:
        """What fits."""
        unit = f" of {self.unit}" if self.unit else ""
        if math.isinf(self.high):
            return f"a number{unit}, at least {self.low:.10g}"
        return f"a number{unit} from {self.low:.10g} to {self.high:.10g}"

    def check(self, value: object) -> object:
        """See :class:`Rule`."""
        if not isinstance(value, (int, float)) or not self.low <= value <= self.high:
            raise Unfit(self.expected, value)
        return value


@frozen
class HostName:
    """A DNS name; it comes out as names are compared: lower case, A-labels, no trailing dot."""

    expected: str = "a DNS name"

    def check(self, value: object) -> object:
        """See :class:`Rule`."""
        try:
            name = normalize(str(value))
        except ValueError as e:
            raise Unfit(
                self.expected, value, "letters, digits and hyphens, with dots between; no wildcard"
            ) from e
        if name.rpartition(".")[2].isdigit():
            raise Unfit(self.expected, value, "an address is no name: certificates prove names")
        return name


@frozen
class Printable:
    """Text that can stand in a quoted string of a header field and is short enough to."""

    expected: str = "1 to 255 printable characters without quotation marks"

    def check(self, value: object) -> object:
        """See :class:`Rule`."""
        text = str(value)
        if not 1 <= len(text) <= 255 or not text.isprintable() or '"' in text or "\\" in text:
            raise Unfit(self.expected, value)
        return value


@frozen
class Some:
    """A list with something in it, and nothing twice."""

    expected: str = "a list of at least one, none of them twice"

    def check(self, value: object) -> object:
        """See :class:`Rule`."""
        if not isinstance(value, tuple) or not value or len(set(value)) != len(value):
            raise Unfit(self.expected, list(value) if isinstance(value, tuple) else value)
        return value


@frozen
class DnsServer:
    """The address of a DNS server, with its port where that is not 53; numeric, as it can't be looked up."""

    expected: str = "an address such as 192.0.2.53, 192.0.2.53:5353 or [2001:db8::53]:53"

    def check(self, value: object) -> object:
        """See :class:`Rule`."""
        try:
            host_and_port(str(value))
        except ValueError as e:
            raise Unfit(self.expected, value) from e
        return value


def host_and_port(text: str, default: int = 53) -> tuple[str, int]:
    """Take apart what :class:`DnsServer` lets through: ``[2001:db8::53]:53`` is ``("2001:db8::53", 53)``.

    :raises ValueError: if it is no numeric address with or without a port.
    """
    m = re.fullmatch(
        r"\[(?P<six>[^]]+)\](?::(?P<port6>[0-9]{1,5}))?|(?P<four>[0-9.]+)(?::(?P<port4>[0-9]{1,5}))?", text
    )
    if m is None:
        return str(ip_address(text)), default
    host = ip_address(m["six"] or m["four"])
    port = int(m["port6"] or m["port4"] or default)
    if not 0 < port < 65536 or (host.version == 6) != (m["six"] is not None):
        raise ValueError(text)
    return str(host), port


@frozen
class ServerEndpoint:
    """A Twisted server endpoint string for a plain stream; TLS, with what [tls] says, is put on top."""

    expected: str = "a Twisted server endpoint string, such as tcp:5061:interface=192.0.2.1"

    def check(self, value: object) -> object:
        """See :class:`Rule`. Opens nothing."""
        text = str(value)
        kind = text.partition(":")[0]
        if kind in {"ssl", "tls", "sslx"}:
            raise Unfit(
                self.expected,
                value,
                f"write tcp: in place of {kind}:, the certificate is that of the [tls] section",
            )
        if kind in {"tcp", "tcp6", "unix"}:
            self._parse(text)
        elif kind not in {parser.prefix for parser in getPlugins(IStreamServerEndpointStringParser)}:
            # Others may need the running reactor, or (systemd) sockets that only a start by systemd passes
            # on, so their arguments are checked when the server starts.
            raise Unfit(
                self.expected, value, f"there is no kind of endpoint {kind!r}; is its package installed?"
            )
        return text

    def _parse(self, text: str) -> None:
        try:
            endpoint = serverFromString(None, text)  # which only remembers the reactor
        except (ValueError, TypeError, LookupError) as e:
            raise Unfit(self.expected, text, f"Twisted says: {e}") from e
        port = getattr(endpoint, "_port", 0)
        if isinstance(port, int) and not 0 <= port <= 65535:
            raise Unfit(self.expected, text, "a port is a number from 0 to 65535")
