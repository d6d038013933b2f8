"""Change a message by replacing pieces of its bytes, and leave all else as it arrived.

RFC 3261 §16.6 and §16.7 ask a proxy to touch a handful of fields; the rest, the body first of all, goes
through untouched. Edits are collected by offset and applied in one join.
"""

from __future__ import annotations

from operator import itemgetter

from .headers import VIA_PARAM, split_values
from .message import Message, Request
from .names import VIA

_by_place = itemgetter(0)


class Splice:
    """A set of edits of one message. Edits must not overlap; insertions at one place keep their order."""

    __slots__ = ("_edits", "_inserted", "_message")

    def __init__(self, message: Message) -> None:
        self._message = message
        self._edits: list[tuple[int, int, bytes]] = []
        self._inserted: list[tuple[int, int, bytes]] = []

    def start_line(self, line: bytes) -> None:
        """Replace the start line; ``line`` has no CRLF."""
        fields = self._message.fields
        end = fields[0][1] if fields else self._message.body_start - 2
        self._edits.append((0, end, line + b"\r\n"))

    def prepend(self, name: bytes, line: bytes) -> None:
        """Insert a header line before the first field of this canonical name, else before the first of all.

        :param line: one or more whole header lines, without the last one's CRLF.
        """
        message = self._message
        fields = message.fields
        number = message.place(name) if message.has(name) else 0
        at = fields[number][1] if fields else message.body_start - 2
        self._inserted.append((at, at, line + b"\r\n"))

    def append(self, line: bytes) -> None:
        """Insert a header line after the last field."""
        at = self._message.body_start - 2
        self._inserted.append((at, at, line + b"\r\n"))

    def replace(self, name: bytes, line: bytes) -> None:
        """Replace the first field of this canonical name by ``line``; where there is none, append it."""
        message = self._message
        if message.has(name):
            _, start, _, end = message.fields[message.place(name)]
            self._edits.append((start, end, line))
        else:
            self.append(line)

    def remove(self, name: bytes) -> None:
        """Remove all fields of this canonical name."""
        for known, start, _, end in self._message.fields:
            if known == name:
                self._edits.append((start, end + 2, b""))

    def remove_field(self, number: int) -> None:
        """Remove the field with this place in ``fields``."""
        _, start, _, end = self._message.fields[number]
        self._edits.append((start, end + 2, b""))

    def remove_first_value(self, name: bytes, count: int = 1) -> None:
        """Remove the first ``count`` values of a field, whether on one line or on several."""
        raw = self._message.raw
        for known, start, value, end in self._message.fields:
            if known != name:
                continue
            values = split_values(raw[value:end].strip()) if b"," in raw[value:end] else [b""]
            if count < len(values):
                at = value
                for one in values[:count]:
                    at = raw.index(one, at) + len(one)
                self._edits.append((value, raw.index(values[count], at), b" "))
                return
            self._edits.append((start, end + 2, b""))
            count -= len(values)
            if not count:
                return

    def to_bytes(self) -> bytes:
        """The message with all edits made."""
        raw = self._message.raw
        # What is inserted where something else is replaced comes before that: the sort is stable.
        edits = self._inserted + self._edits
        edits.sort(key=_by_place)
        pieces: list[bytes] = []
        at = 0
        for start, end, new in edits:
            if start > at:
                pieces.append(raw[at:start])
            pieces.append(new)
            at = max(at, end)
        pieces.append(raw[at:])
        return b"".join(pieces)


def received_via(request: Request, address: str, port: int) -> bytes | None:
    """The first Via field of a request with where it really came from noted in it: ``received`` and ``rport``.

    RFC 3261 §18.2.1, RFC 3581 §4.

    :param address: the source's IP address, IPv6 without brackets.
    :return: the whole line, without CRLF; None where there is nothing to note.
    :raises SipSyntaxError: if there is no Via, or a malformed one.
    """
    via = request.via
    host = address.encode("ascii")
    params = via.params
    known = params.lower()
    if known.endswith(b";rport") and b"received" not in known and b'"' not in known:
        # As nearly every client writes it.
        noted = b"%s=%d;received=%s" % (params, port, host)
    elif b"rport" in known or b"received" in known or via.host.strip(b"[]") != host:
        noted = _noted(params, host, port)
    else:
        return None
    # The unfolded value, which is what ``via`` was read from: a fold hides nothing.
    value = request.first(VIA) or b""
    top = split_values(value)[0] if b"," in value else value
    end = value.index(top) + len(top)
    return b"Via: %s%s%s" % (value[: end - len(params)], noted, value[end:])


def _noted(params: bytes, host: bytes, port: int) -> bytes:
    kept = b""
    for param in VIA_PARAM.finditer(params):
        text, name, told = param.group(0, 1, 2)
        name = name.lower()
        if name == b"rport" and not told:
            kept += b";rport=%d" % port
        elif name != b"received":
            # A client may not say of itself where it was received from.
            kept += text
    return b"%s;received=%s" % (kept.rstrip(), host)
