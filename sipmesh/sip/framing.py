"""Cut a byte stream into SIP messages, within bounds.

RFC 3261 §18.3 (Content-Length is what ends a message on a stream), §7.5 (empty lines before a start line are
ignored), RFC 5626 §3.5.1 (CRLF keep-alive: a double CRLF is a ping, answered by a single one).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum

from attrs import frozen

from .errors import SipSyntaxError
from .message import Head, MalformedRequest, MalformedResponse, Request, Response


class KeepAlive(Enum):
    """What stands between messages."""

    PING = b"\r\n\r\n"
    PONG = b"\r\n"


@frozen
class Limits:
    """Bounds on what a peer may send.

    :ivar message: bytes in a whole message.
    :ivar head: bytes in start line and header fields.
    :ivar fields: header fields in a message.
    :ivar field: bytes in one header field.
    :ivar partial: seconds from a message's first byte to its last.
    """

    message: int = 65536
    head: int = 32768
    fields: int = 200
    field: int = 8192
    partial: float = 10.0

    def allow(self, message: bytes) -> bool:
        """Whether a peer with the same bounds takes this message. What it does not take costs the whole flow."""
        end = message.find(b"\r\n\r\n")
        return (
            len(message) <= self.message
            and end <= self.head
            and message.count(b"\r\n", 0, end) <= self.fields
        )


_EMPTY_LINES = re.compile(rb"(?:\r\n)*")


class StreamFramer:
    """The receiving side of one connection. Pure: bytes in, messages out; the clock is the caller's.

    After an error nothing more can be read: the cut between messages is lost, so the flow has to close.
    """

    __slots__ = ("_buffer", "_head", "_head_end", "_limits", "_scanned")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._buffer: bytes | bytearray = b""
        self._scanned = 0
        self._head: Head | None = None
        self._head_end = 0

    @property
    def partial(self) -> bool:
        """Whether a message has begun that is not yet whole."""
        return bool(self._buffer)

    def feed(
        self, data: bytes
    ) -> Iterator[Request | Response | KeepAlive | MalformedRequest | MalformedResponse]:
        """Take what arrived and yield what it completes.

        A malformed request that left the stream in step is yielded as :class:`.MalformedRequest`, to be
        answered; a malformed response as :class:`.MalformedResponse`, to be discarded (RFC 3261 §18.3): a
        flow between servers carries more than the one call that sent it.

        :raises MalformedRequest: if the stream is out of step but this request can be answered first.
        :raises SipSyntaxError: if the stream is out of step, or a bound was passed.
        """
        if not self._buffer:
            self._buffer = data
        else:
            # To a bytearray, so that a message that comes byte by byte is not copied for each of them.
            if isinstance(self._buffer, bytes):
                self._buffer = bytearray(self._buffer)
            self._buffer += data
        while self._buffer:
            if self._head is None:
                if self._buffer[:1] == b"\r":
                    empty = self._empty_lines()
                    if empty is None:
                        return
                    yield empty
                    continue
                if not self._find_head():
                    return
            message = self._take()
            if message is None:
                return
            yield message

    def _empty_lines(self) -> KeepAlive | None:
        """What the empty lines say that the buffer begins with; None if the next byte has to tell.

        A ping whose two CRLFs come in one piece each is taken for two pongs: it could be those.
        """
        m = _EMPTY_LINES.match(self._buffer)
        assert m is not None
        end = m.end()
        if self._buffer.endswith(b"\r") and len(self._buffer) == end + 1:
            return None
        if end == 0:
            raise SipSyntaxError("CR without LF before a start line")
        self._buffer = bytes(self._buffer[end:])
        # However many empty lines come at once, one answer does: amplification is not offered.
        return KeepAlive.PING if end >= 4 else KeepAlive.PONG

    def _find_head(self) -> bool:
        buffer = self._buffer
        limits = self._limits
        end = buffer.find(b"\r\n\r\n", self._scanned)
        if end < 0:
            self._scanned = max(0, len(buffer) - 3)
            # The first three of the four bytes that end it may be there already.
            if len(buffer) > limits.head + 3:
                raise SipSyntaxError(f"header longer than {limits.head} bytes", 513)
            return False
        if end > limits.head:
            raise SipSyntaxError(f"header longer than {limits.head} bytes", 513)
        # Counted before anything is built from it.
        if buffer.count(b"\r\n", 0, end) > limits.fields:
            raise SipSyntaxError(f"more than {limits.fields} header lines", 513)
        self._head = Head(bytes(buffer[:end]))
        self._head_end = end + 4
        return True

    def _take(self) -> Request | Response | MalformedRequest | MalformedResponse | None:
        head, limits = self._head, self._limits
        assert head is not None
        whole = self._head_end + (head.content_length or 0)
        if head.lost:
            raise self._lost(head, head.lost)
        if head.content_length is None:
            # RFC 3261 §18.3: required on streams; without it the end of the body is anybody's guess.
            raise self._lost(head, "Content-Length is required on a stream")
        if whole > limits.message:
            raise self._lost(head, f"message longer than {limits.message} bytes", 513)
        if len(self._buffer) < whole:
            return None
        raw = bytes(self._buffer[:whole]) if len(self._buffer) > whole else bytes(self._buffer)
        self._buffer = bytes(self._buffer[whole:])
        self._head, self._scanned = None, 0
        if self._head_end > limits.field:
            self._bound_lines(head)
        try:
            return head.message(raw, self._head_end)
        except (MalformedRequest, MalformedResponse) as bad:
            return bad

    def _bound_lines(self, head: Head) -> None:
        longest = self._limits.field
        if len(head.start_line) > longest:
            head.trouble = head.trouble or f"start line longer than {longest} bytes"
        for name, start, _, end in head.fields:
            if end - start > longest:
                head.trouble = head.trouble or f"{name.decode()} longer than {longest} bytes"

    def _lost(self, head: Head, reason: str, status: int = 400) -> SipSyntaxError:
        """The error that ends the stream: with the request, if it is one that can be answered."""
        head.trouble = reason
        try:
            head.message(bytes(self._buffer[: self._head_end]), self._head_end)
        except MalformedRequest as bad:
            return MalformedRequest(reason, bad.request, status)
        except SipSyntaxError as bad:
            return bad
        raise AssertionError("a head with trouble made a message")
