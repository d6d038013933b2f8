"""A web page that shows who is registered, and a routing policy that does what was clicked on it."""

from __future__ import annotations

from collections.abc import Collection
from html import escape
from inspect import isawaitable

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from twisted.web.server import Request as WebRequest
from twisted.web.util import redirectTo
from zope.interface import implementer

from sipmesh.decisions import Reject, RequestContext
from sipmesh.interfaces import ILocationStore, IRoutingPolicy
from sipmesh.sip import Request, SipUri


@implementer(IRoutingPolicy)
@define
class DoNotDisturb:
    """Keeps calls away from who wants quiet; messages still come.

    :ivar quiet: the addresses of record of those. The page changes it, the policy reads it: one process.
    """

    quiet: set[str] = field(factory=set)

    def route(self, request: Request, context: RequestContext) -> Reject | None:
        """See :class:`sipmesh.interfaces.IRoutingPolicy`."""
        uri = request.uri
        if request.method == b"INVITE" and isinstance(uri, SipUri) and uri.aor in self.quiet:
            return Reject(480, f"{uri.aor} does not want to be disturbed", "Do Not Disturb")
        return None


class Switchboard(Resource):
    """The page: each user with contacts, and a button.

    :param aors: the users' addresses of record.
    """

    isLeaf = True

    def __init__(self, aors: Collection[str], locations: ILocationStore, policy: DoNotDisturb) -> None:
        Resource.__init__(self)
        self._aors = aors
        self._locations = locations
        self._policy = policy

    def render_GET(self, request: WebRequest) -> int:
        """Who is registered. The store answers later, and the reactor has other things to do meanwhile."""
        page = Deferred.fromCoroutine(self._show(request))
        request.notifyFinish().addErrback(lambda _: page.cancel())
        page.addErrback(lambda failure: failure.check(CancelledError) or request.processingFailed(failure))
        return NOT_DONE_YET

    def render_POST(self, request: WebRequest) -> bytes:
        """Change whether a user may be called."""
        aor = request.args.get(b"aor", [b""])[0].decode("utf-8", "replace")
        if aor not in self._aors:
            request.setResponseCode(404)
            return b"no such user"
        self._policy.quiet ^= {aor}
        return redirectTo(b"/", request)

    async def _show(self, request: WebRequest) -> None:
        rows = [await self._row(aor) for aor in self._aors]
        request.setHeader(b"content-type", b"text/html; charset=utf-8")
        request.write(_PAGE.format("\n".join(rows)).encode())
        request.finish()

    async def _row(self, aor: str) -> str:
        found = self._locations.bindings(aor)
        bindings = await found if isawaitable(found) else found
        contacts = ", ".join(binding.contact for binding in bindings) or "not registered"
        button = "let calls through" if aor in self._policy.quiet else "do not disturb"
        return _ROW.format(aor=escape(aor), contacts=escape(contacts), button=button)


_PAGE = """<!DOCTYPE html>
<title>Switchboard</title>
<table>
{}
</table>
"""
_ROW = """<tr><td>{aor}<td>{contacts}
<td><form method="post"><button name="aor" value="{aor}">{button}</button></form>"""
