"""What we write into the user part of our own Record-Route and Path URIs, and believe when it comes back.

A dialog's token says between which two neighbours we stand in that dialog; a request inside the dialog comes from
one of them and goes to the other, whatever its Route and Request-URI claim. So nothing about a dialog is stored,
and a partner can't turn a Route of ours into a relay. A path's token leads to the flow of a registered client
(RFC 5626 §5.2 has the idea). Both are sealed with a key that lives as long as the process: so do the flows.

A neighbour is ``f`` and the id of a client's flow, or ``n`` and the proven name of a server, which may have
another flow by the time the next request comes.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from hashlib import blake2b
from hmac import compare_digest

from ..decisions import Client
from ..transport.flow import Flow

_SEAL = 15  # bytes of the MAC, 20 characters: what a forger has to guess online, one request a guess


def neighbour(flow: Flow) -> str:
    """How a token names the other end of a flow."""
    return f"f{flow.id}" if isinstance(flow.peer, Client) else f"n{flow.scope}"


class RouteTokens:
    """:param key: 32 random bytes, secret."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def _seal(self, *parts: bytes) -> str:
        # Keyed BLAKE2 (RFC 7693) is a MAC by itself, and a third of HMAC-SHA-256's cost on a message this short.
        mac = blake2b(b"\0".join(parts), key=self._key, digest_size=_SEAL).digest()
        return urlsafe_b64encode(mac).decode("ascii")

    def for_dialog(self, call_id: bytes, left: str, right: str) -> str:
        """For a Record-Route of ours: this dialog runs between these neighbours."""
        return f"{self._seal(b'dialog', call_id, left.encode(), right.encode())}~{left}~{right}"

    def neighbours(self, token: str, call_id: bytes) -> tuple[str, str] | None:
        """The neighbours in a token; None if it is none of ours for this dialog."""
        seal, _, rest = token.partition("~")
        left, sep, right = rest.partition("~")
        if not sep:
            return None
        expected = self._seal(
            b"dialog", call_id, left.encode("utf-8", "replace"), right.encode("utf-8", "replace")
        )
        return (left, right) if compare_digest(seal.encode("utf-8", "replace"), expected.encode()) else None

    def for_path(self, flow: Flow) -> str:
        """For a Path of ours: this flow."""
        return f"{self._seal(b'path', str(flow.id).encode())}~f{flow.id}"

    def path_flow(self, token: str) -> int | None:
        """The id of the flow in a token; None if it is none of ours."""
        seal, _, rest = token.partition("~")
        if not (rest[:1] == "f" and rest[1:].isdecimal() and rest.isascii()):
            return None
        expected = self._seal(b"path", rest[1:].encode())
        return int(rest[1:]) if compare_digest(seal.encode("utf-8", "replace"), expected.encode()) else None
