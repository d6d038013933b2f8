"""Whether a request can be served at all: RFC 3261 §16.3, with loops as RFC 5393 §4.2 detects them."""

from __future__ import annotations

from hashlib import blake2b
from random import getrandbits

from attrs import frozen

from ..sip.errors import SipSyntaxError
from ..sip.headers import MAGIC_COOKIE, parse_via
from ..sip.message import Request
from ..sip.names import PROXY_REQUIRE, ROUTE, VIA
from ..sip.uri import OtherUri
from .site import Site


@frozen
class Refusal:
    """A final answer of our own.

    :ivar headers: whole header lines.
    :ivar because: for the trace and the log.
    """

    status: int
    because: str
    reason: str = ""
    headers: tuple[bytes, ...] = ()


def validate(request: Request, site: Site, source: str) -> Refusal | None:
    """None if the request may go on.

    :param source: who it came from, as :func:`.tokens.neighbour` has it.
    """
    try:
        if request.cseq.method != request.method:
            return Refusal(400, "the method in CSeq is not the request's", "CSeq method mismatch")
        if not request.from_tag and request.via.branch.startswith(MAGIC_COOKIE):
            return Refusal(400, "no tag in From (RFC 3261 §8.1.1.3)", "From has no tag")
        _ = request.to_tag, request.call_id, request.max_forwards
        if isinstance(request.uri, OtherUri):
            return Refusal(416, f"Request-URI of the scheme {request.uri.scheme}")
    except SipSyntaxError as error:
        return Refusal(error.status, error.reason, error.reason)
    if site.sent_by in request.raw and _looped(request, site, source):
        return Refusal(
            482, "the request has been here before, and nothing in it that decides its way has changed"
        )
    if request.has(PROXY_REQUIRE):
        wanted = b", ".join(request.values(PROXY_REQUIRE))
        return Refusal(420, "a proxy extension is demanded", headers=(b"Unsupported: " + wanted,))
    return None


def make_branch(request: Request, source: str) -> bytes:
    """A branch for our Via: unique, and with a fingerprint of all that decides the request's way (RFC 5393 §4.2).

    :param source: who it came from: policies decide by that too, so a request that comes back from another side than
        the first time has not looped yet.
    """
    return b"%sm%s.%s" % (MAGIC_COOKIE, b"%016x" % getrandbits(64), _fingerprint(request, source))


def _fingerprint(request: Request, source: str) -> bytes:
    parts = [
        source.encode(),
        request.uri_bytes,
        *request.all(ROUTE),
        request.from_tag,
        request.to_tag,
        request.call_id,
        b"%d" % request.cseq.number,
    ]
    return blake2b(b"\0".join(parts), digest_size=6).hexdigest().encode()


def _looped(request: Request, site: Site, source: str) -> bool:
    mine = None
    for value in request.values(VIA):
        if site.sent_by in value:
            try:
                via = parse_via(value)
            except SipSyntaxError:
                continue
            mine = mine or _fingerprint(request, source)
            if (
                b"%s:%d" % (via.host, via.port or 5061) == site.sent_by
                and via.branch.rpartition(b".")[2] == mine
            ):
                return True
    return False
