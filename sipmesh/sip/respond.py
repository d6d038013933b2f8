"""Make messages out of messages: a response to a request, an ACK and a CANCEL to an INVITE.

RFC 3261 §8.2.6, §9.1, §17.1.1.3.
"""

from __future__ import annotations

import os
import re
from http import HTTPStatus

from .message import Message, Request, Response, parse_message
from .names import CALL_ID, CSEQ, FROM, MAX_FORWARDS, RECORD_ROUTE, ROUTE, TO, VIA

REASONS: dict[int, bytes] = {
    100: b"Trying",
    180: b"Ringing",
    181: b"Call Is Being Forwarded",
    182: b"Queued",
    183: b"Session Progress",
    200: b"OK",
    300: b"Multiple Choices",
    302: b"Moved Temporarily",
    400: b"Bad Request",
    401: b"Unauthorized",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    407: b"Proxy Authentication Required",
    408: b"Request Timeout",
    416: b"Unsupported URI Scheme",
    420: b"Bad Extension",
    421: b"Extension Required",
    423: b"Interval Too Brief",
    430: b"Flow Failed",  # RFC 5626 §11.6
    440: b"Max-Breadth Exceeded",  # RFC 5393
    480: b"Temporarily Unavailable",
    481: b"Call/Transaction Does Not Exist",
    482: b"Loop Detected",
    483: b"Too Many Hops",
    484: b"Address Incomplete",
    485: b"Ambiguous",
    486: b"Busy Here",
    487: b"Request Terminated",
    488: b"Not Acceptable Here",
    500: b"Server Internal Error",
    501: b"Not Implemented",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Server Time-out",
    505: b"Version Not Supported",
    513: b"Message Too Large",
    600: b"Busy Everywhere",
    603: b"Decline",
    604: b"Does Not Exist Anywhere",
    606: b"Not Acceptable",
}


# By sight, not by parsing: the To of a request that gets a 400 may be what was malformed.
_TAG = re.compile(rb";[ \t\r\n]*tag[ \t\r\n]*=", re.IGNORECASE)


# RFC 3261 §8.2.6.2; Record-Route by §12.1.1, Timestamp by §8.2.6.1. Via is written apart.
_COPIED_TO_FAILURE = frozenset({FROM, TO, CALL_ID, CSEQ})
_COPIED = _COPIED_TO_FAILURE | {RECORD_ROUTE}
_COPIED_TO_100 = _COPIED_TO_FAILURE | {b"timestamp"}


def new_tag() -> bytes:
    """A To tag of ours: unique and not to be guessed (RFC 3261 §19.3)."""
    return os.urandom(6).hex().encode()


def reason_phrase(status: int) -> bytes:
    """The phrase that RFC 3261 §21 gives, else HTTP's, else the class's."""
    known = REASONS.get(status)
    if known is None:
        try:
            known = HTTPStatus(status).phrase.encode()
        except ValueError:
            known = REASONS[status // 100 * 100]
    return known


def lines_of(message: Message, names: tuple[bytes, ...]) -> list[bytes]:
    """Whole lines of a message, as they stand, in the order in which they stand."""
    raw = message.raw
    return [raw[start:end] for name, start, _, end in message.fields if name in names]


def via_block(request: Request) -> bytes:
    """The Via fields that answer a request: its own, with what was noted in the first. Without the last CRLF."""
    block = request.via_block
    if block is None:
        lines = lines_of(request, (VIA,))
        if request.noted_via is not None:
            lines[0] = request.noted_via
        block = request.via_block = b"\r\n".join(lines)
    return block


def make_response(
    request: Request,
    status: int,
    reason: str | bytes = b"",
    headers: tuple[bytes, ...] = (),
    to_tag: bytes = b"",
) -> bytes:
    """A response of our own (RFC 3261 §8.2.6.2).

    :param reason: the reason phrase; the status's own where none is given. CR and LF are taken out.
    :param headers: whole header lines, without CRLF.
    :param to_tag: added to To if that has no tag. Not for 100.
    """
    if isinstance(reason, str):
        reason = reason.encode("utf-8", "replace")
    phrase = (reason or reason_phrase(status)).replace(b"\r", b" ").replace(b"\n", b" ")
    lines = [b"SIP/2.0 %d %s" % (status, phrase), via_block(request)]
    copied = _COPIED_TO_100 if status == 100 else _COPIED if status < 300 else _COPIED_TO_FAILURE
    raw = request.raw
    for name, start, _, end in request.fields:
        if name in copied:
            line = raw[start:end]
            if name == TO and to_tag and not _TAG.search(line):
                line += b";tag=" + to_tag
            lines.append(line)
    lines += headers
    lines.append(b"Content-Length: 0\r\n\r\n")
    return b"\r\n".join(lines)


def _following(invite: Request, method: bytes, to: list[bytes]) -> bytes:
    raw = invite.raw
    via = invite.fields[next(n for n, one in enumerate(invite.fields) if one[0] == VIA)]
    lines = [
        method + b" " + invite.uri_bytes + b" SIP/2.0",
        raw[via[1] : via[3]],
        *lines_of(invite, (ROUTE, FROM, CALL_ID, MAX_FORWARDS)),
        *to,
        b"CSeq: %d %s" % (invite.cseq.number, method),
        b"Content-Length: 0\r\n\r\n",
    ]
    return b"\r\n".join(lines)


def ack_for_failure(invite: bytes, response: Response) -> bytes:
    """The ACK for a 300-699, hop by hop (RFC 3261 §17.1.1.3).

    :param invite: the INVITE that we sent. Its top Via is a line of its own, as ours always is.
    """
    request = parse_message(invite)
    assert isinstance(request, Request)
    return _following(request, b"ACK", lines_of(response, (TO,)))


def cancel_for(invite: bytes) -> bytes:
    """The CANCEL for an INVITE that we sent (RFC 3261 §9.1)."""
    request = parse_message(invite)
    assert isinstance(request, Request)
    return _following(request, b"CANCEL", lines_of(request, (TO,)))
