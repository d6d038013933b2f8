"""The bytes that leave: a request as it is forwarded (RFC 3261 §16.6) and a response as it goes back (§16.7).

Identity crosses the trust boundary here: P-Asserted-Identity passes only from a trusted server to a trusted
server, is asserted by us for a user who proved it here, and is stripped from and for everybody else
(RFC 3325 §5, §7).
"""

from __future__ import annotations

from attrs import evolve, frozen

from ..decisions import Target
from ..sip.digest import parse_credentials
from ..sip.errors import SipSyntaxError
from ..sip.headers import parse_address
from ..sip.message import Request, Response
from ..sip.names import (
    AUTHORIZATION,
    MAX_FORWARDS,
    P_ASSERTED_IDENTITY,
    P_PREFERRED_IDENTITY,
    PROXY_AUTHORIZATION,
    RECORD_ROUTE,
    ROUTE,
    VIA,
)
from ..sip.respond import via_block
from ..sip.splice import Splice
from ..sip.uri import SipUri, Uri, escape_user
from ..transport.flow import Flow
from .site import Site

DIALOG_FORMING = frozenset({b"INVITE", b"SUBSCRIBE", b"REFER", b"NOTIFY"})
"""RFC 3261 §12, RFC 6665 §4, RFC 3515: what we want to see the rest of."""


@frozen
class Passage:
    """What is the same for all branches of a request.

    :ivar popped: how many Route values on top were ours, and go.
    :ivar user: the user that a client proved on this flow; None for servers.
    :ivar realm: our realm: credentials for it were for us and go no further.
    """

    request: Request
    source: Flow
    popped: int
    user: str | None
    realm: str


def forwarded_request(
    passage: Passage, target: Target, flow: Flow, branch: bytes, site: Site, record_route: str | None
) -> bytes:
    """:param record_route: our Record-Route's user part; None to add no Record-Route."""
    request = passage.request
    edit = Splice(request)
    if target.uri is not request.uri:
        edit.start_line(b"%s %s SIP/2.0" % (request.method, _request_uri(target.uri)))
    # RFC 5923 §9: a server that we connect to may use the connection towards us too.
    alias = b"" if flow.scope.startswith("flow ") else b";alias"
    via = b"Via: SIP/2.0/TLS %s;branch=%s%s" % (site.sent_by, branch, alias)
    edit.prepend(VIA, via)
    if request.noted_via is not None:
        edit.replace(VIA, request.noted_via)
    if record_route is not None:
        # RFC 3261 §16.6 step 4: a sips Request-URI asks for a sips Record-Route. Ours goes before the others,
        # wherever these are: Kamailio writes them above Via.
        sips = isinstance(target.uri, SipUri) and target.uri.scheme == "sips"
        line = b"Record-Route: <%s:%s@%s%s;lr>" % (
            b"sips" if sips else b"sip",
            record_route.encode(),
            site.sent_by,
            b"" if sips else b";transport=tls",
        )
        edit.prepend(RECORD_ROUTE, line)
    hops = request.max_forwards
    edit.replace(MAX_FORWARDS, b"Max-Forwards: %d" % (70 if hops is None else hops - 1))
    if passage.popped:
        edit.remove_first_value(ROUTE, passage.popped)
    routes = [value.encode("utf-8", "surrogateescape") for value in target.route]
    if routes and _is_here(routes[0], site):
        # Our own Path value has led to this flow, and its work is done (§16.4).
        del routes[0]
    if routes:
        edit.prepend(ROUTE, b"Route: " + b", ".join(routes))
    _assert_identity(edit, passage, flow)
    if request.has(PROXY_AUTHORIZATION) or request.has(AUTHORIZATION):
        _drop_credentials(edit, request, passage.realm)
    return edit.to_bytes()


def _request_uri(uri: Uri) -> bytes:
    # RFC 3261 §19.1.1, table 1: no header fields, which a contact may have.
    return bytes(evolve(uri, headers=None) if isinstance(uri, SipUri) and uri.headers is not None else uri)


def _is_here(route: bytes, site: Site) -> bool:
    return site.is_here(parse_address(route).uri, ("", 0))


def _assert_identity(edit: Splice, passage: Passage, flow: Flow) -> None:
    request, source = passage.request, passage.source
    if not (source.trusted and flow.trusted) and request.has(P_ASSERTED_IDENTITY):
        edit.remove(P_ASSERTED_IDENTITY)
    if not source.trusted and request.has(P_PREFERRED_IDENTITY):
        edit.remove(P_PREFERRED_IDENTITY)
    if passage.user is not None and flow.trusted:
        edit.append(b"P-Asserted-Identity: <%s>" % escape_user(passage.user).encode("ascii"))


def _drop_credentials(edit: Splice, request: Request, realm: str) -> None:
    for number, (name, _, start, end) in enumerate(request.fields):
        # Authorization too: what a REGISTER showed us would let a stranger guess at the password.
        if name in (PROXY_AUTHORIZATION, AUTHORIZATION):
            try:
                ours = parse_credentials(request.raw[start:end].strip()).realm == realm
            except SipSyntaxError:
                ours = name == PROXY_AUTHORIZATION
            if ours:
                edit.remove_field(number)


def returned_response(
    response: Response, request: Request, keep_identity: bool, more: tuple[bytes, ...] = ()
) -> bytes:
    """A response as it goes back, without our Via.

    The Via values are the request's: whatever came back, who sent the request has to know its own again. One that is
    unreadable could cost a server its flow to us, and so everybody's calls.

    :param more: whole header lines to add.
    """
    edit = Splice(response)
    edit.prepend(VIA, via_block(request))
    edit.remove(VIA)
    for line in more:
        edit.append(line)
    if not keep_identity and response.has(P_ASSERTED_IDENTITY):
        edit.remove(P_ASSERTED_IDENTITY)
    return edit.to_bytes()
