"""Small routing policies for tests."""

from __future__ import annotations

from typing import Any

from attrs import define
from zope.interface import implementer

from sipmesh.decisions import Forward, RequestContext, Target
from sipmesh.interfaces import IRoutingPolicy
from sipmesh.sip import Request, SipUri, parse_uri


@implementer(IRoutingPolicy)
@define(eq=False)
class Says:
    """Gives one answer to everything; an exception is raised, a function is asked."""

    answer: Any = None
    asked: int = 0

    def route(self, request: Request, context: RequestContext) -> Any:
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer(request, context) if callable(self.answer) else self.answer


@implementer(IRoutingPolicy)
class ByDomain:
    """Sends each request to the server that its Request-URI names; about ours there is no opinion."""

    def route(self, request: Request, context: RequestContext) -> Forward | None:
        uri = request.uri
        if not isinstance(uri, SipUri) or uri.domain in context.domains:
            return None
        return Forward((Target(uri),), "by domain")


def to(*uris: str, **more: Any) -> Forward:
    """A fork to all of these."""
    return Forward(tuple(Target(parse_uri(uri), **more) for uri in uris), "a test says so")
