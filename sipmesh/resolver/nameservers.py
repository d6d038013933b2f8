"""Which DNS servers to ask."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from pathlib import Path

from attrs import define, field
from twisted.logger import Logger
from twisted.names import dns

Server = tuple[str, int]
"""A DNS server: its IP address, as the operating system writes it, and its port."""

_LOCAL: tuple[Server, ...] = (("127.0.0.1", dns.PORT),)
_MOST = 3  # as resolv.conf(5)

_log = Logger()


def server(host: str, port: int) -> Server:
    """Check and normalise a server's address.

    Its spelling matters: a datagram is taken for an answer if the address that it came from is the same text.

    :raises ValueError: if the host is no IP address or the port none.
    """
    if not 0 < port < 65536:
        raise ValueError(f"the port of a DNS server is between 1 and 65535, not {port}")
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            return socket.inet_ntop(family, socket.inet_pton(family, host)), port
        except (OSError, ValueError):
            continue
    raise ValueError(f"a DNS server is given by its IP address, not {host!a}")


@define(eq=False)
class ResolvConf:
    """The servers that the system uses: resolv.conf(5), read again whenever the file has changed.

    A file that is missing or names no server stands for one on this machine, as it does for the system.

    :ivar path: the file.
    """

    path: Path = field(default=Path("/etc/resolv.conf"))
    _read_at: int = field(init=False, default=-1)
    _servers: tuple[Server, ...] = field(init=False, default=_LOCAL)

    def servers(self) -> tuple[Server, ...]:
        """As the file says now. Called for each query: it costs one ``stat``."""
        try:
            changed_at = self.path.stat().st_mtime_ns
            if changed_at != self._read_at:
                self._servers = _parse(self.path.read_text("utf-8", "replace").splitlines())
                self._read_at = changed_at
        except OSError as reason:
            _log.warn("The DNS servers stay as they are, {path}: {reason}", path=self.path, reason=reason)
        return self._servers


def _parse(lines: Iterable[str]) -> tuple[Server, ...]:
    servers: list[Server] = []
    for line in lines:
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver":
            try:
                servers.append(server(words[1], dns.PORT))
            except ValueError as reason:
                _log.warn("A nameserver line of resolv.conf is left out: {reason}", reason=reason)
    return tuple(servers[:_MOST]) or _LOCAL
