"""Who we are: the names by which messages know this server."""

from __future__ import annotations

from attrs import field, frozen

from ..sip.uri import SipUri, Uri


@frozen
class Site:
    """:ivar name: our DNS name: in our certificate, in Via and in Record-Route.

    :ivar port: the port on which other servers reach us.
    :ivar domains: the domains that we are responsible for.
    """

    name: str
    port: int
    domains: frozenset[str]
    sent_by: bytes = field(init=False)

    @sent_by.default
    def _sent_by(self) -> bytes:
        return f"{self.name}:{self.port}".encode("ascii")

    def is_here(self, uri: Uri, here: tuple[str, int]) -> bool:
        """Whether a URI's host and port are this server's: its name, or the address that the flow came in on.

        :param here: our IP address and port on the flow. A client that was given our address as its outbound proxy
            puts that into its first Route.
        """
        if not isinstance(uri, SipUri):
            return False
        if uri.domain == self.name:
            return uri.port in (None, self.port)
        return (uri.domain.strip("[]"), uri.port or 5061) == here

    def is_ours(self, uri: Uri) -> bool:
        """Whether we are responsible for the domain of a URI (RFC 3261 §16.4, §16.5)."""
        return isinstance(uri, SipUri) and (uri.domain in self.domains or uri.domain == self.name)
