"""A SIP message: the bytes that it arrived as, and an index of where its header fields are.

RFC 3261 §7. Nothing is parsed beyond the start line and the places of the fields until somebody asks, and
what was parsed is kept. Bytes are never normalized: what SipMesh forwards is what it got, save what
:mod:`sipmesh.sip.splice` replaced.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from .errors import SipSyntaxError
from .headers import Address, CSeq, Via, parse_address, parse_cseq, parse_tag, parse_via, split_values
from .names import CALL_ID, CONTENT_LENGTH, CSEQ, FROM, MAX_FORWARDS, SPELLINGS, TO, VIA, canonical
from .uri import SipUri, Uri, parse_uri

T = TypeVar("T")

_TOKEN = re.compile(rb"[A-Za-z0-9.!%*_+`'~-]+")
_VERSION = re.compile(rb"SIP/[0-9]+\.[0-9]+", re.IGNORECASE)
_REQUEST_LINE = re.compile(rb"(" + _TOKEN.pattern + rb") ([^\x00-\x20\x7f]+) [Ss][Ii][Pp]/([0-9]+\.[0-9]+)")
_STATUS_LINE = re.compile(rb"SIP/2\.0 ([1-6][0-9][0-9])(?: (.*))?", re.IGNORECASE | re.DOTALL)
# A NUL that is not the second half of a quoted pair, the one place where RFC 3261 §25.1 allows it.
_BARE_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\x00")
# What may stand in no header line that we write.
_STRAY = re.compile(rb"\r(?!\n)|(?<!\r)\n|\x00")

# Of these a second one makes it a matter of taste which one is meant (RFC 4475 §3.3.8).
_ONCE = frozenset({FROM, TO, CALL_ID, CSEQ, MAX_FORWARDS})

_DIGITS = 10
"""Digits in the longest number that is read, leading zeros and all."""

Field = tuple[bytes, int, int, int]
"""A header field: canonical name (``b""``: malformed); offsets of its line, of its value, of its end."""


class Message:
    """What requests and responses share.

    :ivar raw: the whole message.
    :ivar fields: each header field, in order.
    :ivar body_start: the offset of the body in ``raw``.
    """

    __slots__ = (
        "_call_id",
        "_cseq",
        "_first",
        "_from",
        "_from_tag",
        "_repeated",
        "_to",
        "_to_tag",
        "_via",
        "body_start",
        "fields",
        "raw",
    )

    raw: bytes
    fields: list[Field]
    body_start: int

    def __init__(self, raw: bytes, fields: list[Field], body_start: int) -> None:
        self.raw = raw
        self.fields = fields
        self.body_start = body_start
        first: dict[bytes, int] = {}
        self._repeated = b""
        for number, one in enumerate(fields):
            name = one[0]
            if name not in first:
                first[name] = number
            elif name in _ONCE:
                self._repeated = name
        self._first = first
        self._via: Via | None = None
        self._cseq: CSeq | None = None
        self._from: Address | None = None
        self._to: Address | None = None
        self._from_tag: bytes | None = None
        self._to_tag: bytes | None = None
        self._call_id: bytes | None = None

    # Fields, by name ------------------------------------------------------------------------------------

    def has(self, name: bytes) -> bool:
        """Whether a field of this canonical name is there."""
        return name in self._first

    def place(self, name: bytes) -> int:
        """The place in ``fields`` of the first field of this canonical name.

        :raises KeyError: if there is none.
        """
        return self._first[name]

    def first(self, name: bytes) -> bytes | None:
        """The value of the first field of this canonical name, unfolded; None if there is none."""
        number = self._first.get(name)
        if number is None:
            return None
        _, _, start, end = self.fields[number]
        return self._unfolded(start, end)

    def all(self, name: bytes) -> list[bytes]:
        """The values of all fields of this canonical name, one for each field, unfolded."""
        if name not in self._first:
            return []
        return [self._unfolded(start, end) for known, _, start, end in self.fields if known == name]

    def values(self, name: bytes) -> list[bytes]:
        """All values of a field that may hold several, whether on one line or on many (RFC 3261 §7.3.1)."""
        if name not in self._first:
            return []
        return [value for line in self.all(name) for value in split_values(line)]

    def header(self, name: str) -> str | None:
        """The first value of any header field, by any spelling of its name: for policies."""
        known = canonical(name.encode("ascii", "replace"))
        value = None if known is None else self.first(known)
        return None if value is None else value.decode("utf-8", "surrogateescape")

    def tokens(self, name: bytes) -> frozenset[str]:
        """The values of a field of option tags (Require, Supported, ...), in lower case."""
        return frozenset(v.decode("ascii", "replace").lower() for v in self.values(name))

    def _unfolded(self, start: int, end: int) -> bytes:
        value = self.raw[start:end].strip(b" \t\r\n")
        return b" ".join(part.strip(b" \t") for part in value.split(b"\r\n")) if b"\n" in value else value

    # Fields that nearly every step needs, parsed once ---------------------------------------------------

    @property
    def via(self) -> Via:
        """The topmost Via.

        :raises SipSyntaxError: if there is none, or it is malformed.
        """
        via = self._via
        if via is None:
            via = self._via = parse_via(self._needed(VIA))
        return via

    @property
    def cseq(self) -> CSeq:
        """:raises SipSyntaxError: if it is missing or malformed."""
        cseq = self._cseq
        if cseq is None:
            cseq = self._cseq = parse_cseq(self._needed(CSEQ))
        return cseq

    @property
    def from_(self) -> Address:
        """:raises SipSyntaxError: if it is missing or malformed."""
        address = self._from
        if address is None:
            address = self._from = self._read(FROM, parse_address)
        return address

    @property
    def to(self) -> Address:
        """:raises SipSyntaxError: if it is missing or malformed."""
        address = self._to
        if address is None:
            address = self._to = self._read(TO, parse_address)
        return address

    @property
    def from_tag(self) -> bytes:
        """``b""`` if there is none.

        :raises SipSyntaxError: if From is missing or malformed.
        """
        tag = self._from_tag
        if tag is None:
            tag = self._from_tag = self._read(FROM, parse_tag)
        return tag

    @property
    def to_tag(self) -> bytes:
        """``b""`` if there is none.

        :raises SipSyntaxError: if To is missing or malformed.
        """
        tag = self._to_tag
        if tag is None:
            tag = self._to_tag = self._read(TO, parse_tag)
        return tag

    @property
    def call_id(self) -> bytes:
        """:raises SipSyntaxError: if it is missing."""
        call_id = self._call_id
        if call_id is None:
            call_id = self._call_id = self._needed(CALL_ID)
        return call_id

    @property
    def body(self) -> bytes:
        """A copy of the body."""
        return self.raw[self.body_start :]

    def _needed(self, name: bytes) -> bytes:
        value = self.first(name)
        if not value:
            raise SipSyntaxError(f"{name.decode().title()} header field missing or empty")
        return value

    def _read(self, name: bytes, parse: Callable[[bytes], T]) -> T:
        value = self._needed(name)
        try:
            return parse(value)
        except SipSyntaxError as error:
            # Who gets a 400 is told which of its fields is meant.
            raise SipSyntaxError(f"{name.decode().title()}: {error.reason}", error.status) from error


class Request(Message):
    """A request.

    :ivar method: as written; methods are case-sensitive (RFC 3261 §7.1).
    :ivar uri_bytes: the Request-URI as written.
    :ivar noted_via: the first Via field as it is to be passed on and answered with, ``received`` and ``rport`` noted
        in it (:func:`sipmesh.sip.splice.received_via`); None if it is as it came.
    :ivar via_block: kept by :func:`sipmesh.sip.respond.via_block` once it is known.
    """

    __slots__ = ("_uri", "method", "noted_via", "uri_bytes", "via_block")

    def __init__(self, raw: bytes, fields: list[Field], body_start: int, method: bytes, uri: bytes) -> None:
        super().__init__(raw, fields, body_start)
        self.method = method
        self.uri_bytes = uri
        self.noted_via: bytes | None = None
        self.via_block: bytes | None = None
        self._uri: Uri | None = None

    @property
    def uri(self) -> Uri:
        """The Request-URI.

        :raises SipSyntaxError: if it is malformed, or holds header fields (RFC 3261 §19.1.1, table 1).
        """
        uri = self._uri
        if uri is None:
            try:
                uri = parse_uri(self.uri_bytes)
            except SipSyntaxError as error:
                raise SipSyntaxError(f"Request-URI: {error.reason}", error.status) from error
            if isinstance(uri, SipUri) and uri.headers is not None:
                raise SipSyntaxError("the Request-URI holds header fields")
            self._uri = uri
        return uri

    @property
    def max_forwards(self) -> int | None:
        """None where there is none.

        :raises SipSyntaxError: if it is no number from 0 to 255 (RFC 3261 §20.22).
        """
        value = self.first(MAX_FORWARDS)
        if value is None:
            return None
        if not value.isdigit() or len(value) > _DIGITS or int(value) > 255:
            raise SipSyntaxError("Max-Forwards is not a number from 0 to 255")
        return int(value)

    def __repr__(self) -> str:
        # Without the part before the @: a password may stand there.
        where = self.uri_bytes.rpartition(b"@")[2].decode("utf-8", "replace")
        return f"<Request {self.method.decode('ascii', 'replace')} to {where[:80]}>"


class Response(Message):
    """A response.

    :ivar status: 100 to 699.
    :ivar reason: the reason phrase.
    """

    __slots__ = ("reason", "status")

    def __init__(self, raw: bytes, fields: list[Field], body_start: int, status: int, reason: bytes) -> None:
        super().__init__(raw, fields, body_start)
        self.status = status
        self.reason = reason

    def __repr__(self) -> str:
        return f"<Response {self.status} {self.reason.decode('utf-8', 'replace')[:80]}>"


class MalformedRequest(SipSyntaxError):
    """A request that is malformed somewhere, but of which enough could be read to answer it.

    :ivar request: what could be read.
    """

    def __init__(self, reason: str, request: Request, status: int = 400) -> None:
        super().__init__(reason, status)
        self.request = request


class MalformedResponse(SipSyntaxError):
    """A response that is malformed: to be discarded (RFC 3261 §18.3)."""


class Head:
    """The head of a message whose body may not have arrived yet.

    :ivar start_line: without its CRLF.
    :ivar fields: the index of the header fields.
    :ivar content_length: as stated; None where nothing is stated.
    :ivar trouble: what was wrong first; ``""`` if nothing was.
    :ivar lost: why it can't be known where the message ends, if it can't. That is ``trouble`` too.
    """

    __slots__ = ("content_length", "fields", "lost", "start_line", "trouble")

    def __init__(self, head: bytes) -> None:
        """:param head: from the start line to the last header line, without the CRLF that ends that."""
        self.content_length: int | None = None
        self.trouble = ""
        self.lost = ""
        self.fields: list[Field] = []
        if not self._index(head):
            # To another reader this may be a line's end, or the header's: smuggling.
            self.lost = "CR or LF in the header that is no part of a CRLF"
            self.fields.clear()
            self._index(_STRAY.sub(b" ", head))
        elif b"\0" in head and _BARE_NUL.search(head):
            self.trouble = self.trouble or "NUL in the header"
        self._find_length(head)
        if self.lost:
            self.trouble = self.lost

    def _index(self, head: bytes) -> bool:
        """Find the lines; whether each is ended by CRLF. If not, what was found is of no use."""
        lines = head.splitlines() or [b""]
        self.start_line = lines[0]
        fields = self.fields
        start = len(lines[0]) + 2
        for line in lines[1:]:
            end = start + len(line)
            colon = line.find(b":")
            name = SPELLINGS.get(line[:colon]) if colon > 0 else None
            if name is not None:
                fields.append((name, start, start + colon + 1, end))
            elif line[:1] in (b" ", b"\t"):
                self._fold(end)
            elif colon > 0 and (name := canonical(line[:colon])) is not None:
                fields.append((name, start, start + colon + 1, end))
            else:
                self.trouble = self.trouble or f"not a header field: {line[:60].decode('utf-8', 'replace')}"
                fields.append((b"", start, start, end))
            start = end + 2
        return start - 2 == len(head)

    def _fold(self, end: int) -> None:
        if self.fields:
            name, line_start, value_start, _ = self.fields[-1]
            self.fields[-1] = (name, line_start, value_start, end)
        else:
            self.trouble = self.trouble or "the first header line begins with white space"

    def _find_length(self, head: bytes) -> None:
        for name, _, start, end in self.fields:
            if name == CONTENT_LENGTH:
                value = head[start:end].strip()
                if not value.isdigit() or len(value) > _DIGITS:
                    self.lost = self.lost or "Content-Length is not a number"
                elif self.content_length not in (None, int(value)):
                    # Two readers that pick differently would cut the stream differently: smuggling.
                    self.lost = self.lost or "conflicting Content-Length header fields"
                else:
                    self.content_length = int(value)

    def message(self, raw: bytes, body_start: int) -> Request | Response:
        """The message, now that all of it is there.

        :param raw: the whole message; the head that this was made from is its beginning.
        :raises MalformedRequest: if it is a request that can be answered, but is malformed.
        :raises MalformedResponse: if it is a malformed response.
        :raises SipSyntaxError: if it is no SIP message.
        """
        if self.trouble:
            # Lines of it go into the answer; there as here each byte keeps its place.
            raw = _STRAY.sub(b" ", raw[:body_start]) + raw[body_start:]
        if m := _REQUEST_LINE.fullmatch(self.start_line):
            request = Request(raw, self.fields, body_start, m[1], m[2])
            if m[3] != b"2.0":
                raise MalformedRequest("only SIP/2.0 is spoken here", request, 505)
            if trouble := self.trouble or _twice(request):
                raise MalformedRequest(trouble, request)
            return request
        if m := _STATUS_LINE.fullmatch(self.start_line):
            response = Response(raw, self.fields, body_start, int(m[1]), m[2] or b"")
            if trouble := self.trouble or _twice(response):
                raise MalformedResponse(trouble)
            return response
        raise self._malformed_start(raw, body_start)

    def _malformed_start(self, raw: bytes, body_start: int) -> SipSyntaxError:
        """What was meant, as far as can be told, so that it can be answered (RFC 4475 §3.1.2.8 to 10)."""
        words = self.start_line.split()
        if words and _VERSION.fullmatch(words[0]):
            return MalformedResponse("malformed status line")
        if len(words) > 2 and _TOKEN.fullmatch(words[0]) and _VERSION.fullmatch(words[-1]):
            request = Request(raw, self.fields, body_start, words[0], b" ".join(words[1:-1]))
            return MalformedRequest("malformed request line", request)
        return SipSyntaxError("neither request line nor status line")


def _twice(message: Message) -> str:
    """What is wrong with a message that has a field twice which it may have only once."""
    repeated = message._repeated
    return f"more than one {repeated.decode().title()} header field" if repeated else ""


def parse_message(raw: bytes) -> Request | Response:
    """Parse one whole message, as tests, tools and policies have it; a stream goes through :mod:`.framing`.

    :raises MalformedRequest: if it is a request that can be answered, but is malformed.
    :raises SipSyntaxError: if it is no SIP message, or a malformed response.
    """
    end = raw.find(b"\r\n\r\n")
    if end < 0:
        raise SipSyntaxError("no empty line ends the header")
    head = Head(raw[:end])
    if head.content_length is not None and head.content_length > len(raw) - end - 4:
        head.trouble = head.trouble or "the body is shorter than Content-Length says"
    return head.message(raw, end + 4)
