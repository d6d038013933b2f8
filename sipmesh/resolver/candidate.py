"""What comes out of locating a server: where to connect, or why there is nowhere."""

from __future__ import annotations

from attrs import frozen


@frozen
class Candidate:
    """A place where a server may be reached.

    :ivar host: an IP address, as text; IPv6 without brackets.
    :ivar port: TCP port, 1 to 65535.
    :ivar name: the name that the caller meant: the URI's host in lower case, without a trailing dot. This is
        what the certificate has to prove. It is never a name that DNS returned: whoever forges DNS may choose
        those (RFC 5922 §4). For a numeric host it is that host as written; no SIP certificate proves one.
    """

    host: str
    port: int
    name: str


class NotReachable(Exception):
    """There is nowhere to connect to.

    :ivar because: for an administrator: what was asked, and what DNS said.
    """

    def __init__(self, because: str) -> None:
        super().__init__(because)
        self.because = because
