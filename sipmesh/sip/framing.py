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
from .message import Head, MalformedRequest, Request, Response


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


_EMPTY_LINES = re.compile(rb"(?:\r\n)+")


class StreamFramer:
    """The receiving side of one connection. Pure: bytes in, messages out; the clock is the caller's.

    After an error nothing more can be read: the cut between messages is lost, so the flow has to close.
    """

    __slots__ = ("_buffer", "_head", "_head_end", "_limits", "_scanned")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._buffer = b""
        self._scanned = 0
        self._head: Head | None = None
        self._head_end = 0

    @property
    def partial(self) -> bool:
        """Whether a message has begun that is not yet whole."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> Iterator[Request | Response | KeepAlive | MalformedRequest]:
        """Take what arrived and yield what it completes.

        A malformed request that left the stream in step is yielded as :class:`.MalformedRequest`, to be
        answered.

        :raises MalformedRequest: if the stream is out of step but this request can be answered first.
        :raises SipSyntaxError: if the stream is out of step, or a bound was passed.
        """
        self._buffer = self._buffer + data if self._buffer else data
        while self._buffer:
            if self._head is None:
                if self._buffer[:2] == b"\r\n":
                    yield from self._empty_lines()
                    continue
                if self._buffer == b"\r" or not self._find_head():
                    return
            message = self._take()
            if message is None:
                return
            yield message

    def _empty_lines(self) -> Iterator[KeepAlive]:
        m = _EMPTY_LINES.match(self._buffer)
        assert m is not None
        # However many empty lines come at once, one answer does: amplification is not offered.
        yield KeepAlive.PING if m.end() >= 4 else KeepAlive.PONG
        self._buffer = self._buffer[m.end() :]

    def _find_head(self) -> bool:
        buffer = self._buffer
        limits = self._limits
        end = buffer.find(b"\r\n\r\n", self._scanned)
        if end < 0:
            self._scanned = max(0, len(buffer) - 3)
            if len(buffer) > limits.head:
                raise SipSyntaxError(f"header longer than {limits.head} bytes", 513)
            return False
        if end > limits.head:
            raise SipSyntaxError(f"header longer than {limits.head} bytes", 513)
        # Counted before anything is built from it.
        if buffer.count(b"\r\n", 0, end) > limits.fields:
            raise SipSyntaxError(f"more than {limits.fields} header lines", 513)
        self._head = Head(buffer[:end])
        self._head_end = end + 4
        return True

    def _take(self) -> Request | Response | MalformedRequest | None:
        head, limits = self._head, self._limits
        assert head is not None
        length = head.content_length or 0
        lost = head.trouble if "Content-Length" in head.trouble else ""
        if head.content_length is None and not lost:
            # RFC 3261 §18.3: required on streams; without it the end of the body is anybody's guess.
            lost = "Content-Length is required on a stream"
        whole = self._head_end + length
        status = 400
        if whole > limits.message:
            lost, status = f"message longer than {limits.message} bytes", 513
        elif not lost and len(self._buffer) < whole:
            return None
        if lost:
            self._raise_lost(head, lost, status)
        raw = self._buffer[:whole] if len(self._buffer) > whole else self._buffer
        self._buffer = self._buffer[whole:]
        self._head, self._scanned = None, 0
        for name, start, _, end in head.fields:
            if end - start > limits.field:
                head.trouble = head.trouble or f"{name.decode()} longer than {limits.field} bytes"
        try:
            return head.message(raw, self._head_end)
        except MalformedRequest as bad:
            return bad

    def _raise_lost(self, head: Head, reason: str, status: int) -> None:
        head.trouble = ""
        message = head.message(self._buffer[: self._head_end], self._head_end)
        if isinstance(message, Request):
            raise MalformedRequest(reason, message, status)
        raise SipSyntaxError(reason, status)
