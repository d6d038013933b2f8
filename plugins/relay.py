"""Who may reach other domains through this server: one that lets anybody is an open relay."""

from __future__ import annotations

from sipmesh.decisions import RequestContext, TrustedServer


def comes_from_us(context: RequestContext) -> bool:
    """Whether a request comes from one of our servers, or a client that proved its user; never a partner."""
    return isinstance(context.peer, TrustedServer) or context.user is not None
