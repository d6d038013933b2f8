"""The registrar: answers REGISTER from the location service, and changes what it holds (RFC 3261 §10.3)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from email.utils import formatdate

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from ..decisions import Binding, Bindings
from ..interfaces import ILocationStore
from ..sip import Request, SipSyntaxError
from ..sip.names import PATH, SUPPORTED
from .bindings import (
    Registration,
    RegistrationBounds,
    RegistrationError,
    RemoveAll,
    TooManyContacts,
    apply_register,
)
from .request import EXTENSIONS, read_register

__all__ = ["Answer", "Registrar", "RegistrationBounds"]

_log = Logger()


@frozen
class Answer:
    """A final response to a REGISTER.

    :ivar headers: whole header lines to add to those that each response has, without CRLF.
    """

    status: int
    reason: str
    headers: tuple[bytes, ...] = ()


@frozen
class Registrar:
    """Processes REGISTER requests: steps 2 and 6 to 8 of RFC 3261 §10.3.

    The other steps are the caller's: that the Request-URI is a domain of ours (1), that the client proved who
    it is (3) and may register this address of record (4), which belongs to that domain (5).

    :ivar now: the time, in seconds of Unix time.
    :ivar is_gone: whether a binding leads to a flow of ours that is down. Reactor's thread.
    """

    store: ILocationStore
    bounds: RegistrationBounds
    now: Callable[[], float]
    is_gone: Callable[[Binding], bool] = lambda binding: False

    def register(self, request: Request, aor: str, edge: str) -> Answer | Awaitable[Answer]:
        """Answer a REGISTER. Called in the reactor's thread, in the order in which requests come.

        :param aor: the address of record in To, in the form of :attr:`sipmesh.sip.SipUri.aor`.
        :param edge: a Path value of our own, ``<sip:token@us;lr>``, that leads to the flow on which the
            request came. :mod:`.request` says when it becomes part of a binding.
        :return: the answer, at once where the request fails before the store is asked; never a 6xx.
        """
        try:
            change = read_register(request, edge, self.bounds)
        except (RegistrationError, SipSyntaxError) as wrong:
            return _refusal(wrong)
        # Not a bare coroutine: the store is to be asked now, not when somebody awaits.
        return Deferred.fromCoroutine(self._process(request, aor, change))

    async def _process(self, request: Request, aor: str, change: Registration | RemoveAll | None) -> Answer:
        now = self.now()
        try:
            bindings = await self._bindings(aor, change, now)
        except RegistrationError as wrong:
            return _refusal(wrong)
        except Exception:
            # RFC 3261 §10.3 step 7: whatever keeps a store from committing, the request fails with 500.
            _log.failure("the location store failed for {aor}", aor=aor)
            return Answer(500, "Server Internal Error")
        headers = [_contact_line(binding, now) for binding in bindings]
        headers += [b"Path: " + value for value in request.values(PATH)]
        headers.append(b"Date: " + formatdate(now, usegmt=True).encode("ascii"))
        headers.append(b"Supported: " + ", ".join(EXTENSIONS).encode("ascii"))
        if _used_outbound(request, change):
            headers.append(b"Require: outbound")
        return Answer(200, "OK", tuple(headers))

    async def _bindings(self, aor: str, change: Registration | RemoveAll | None, now: float) -> Bindings:
        if change is None:
            found = self.store.bindings(aor)
            return found if isinstance(found, tuple) else await found
        asked = change
        most = self.bounds.contacts
        try:
            return await self.store.update(aor, lambda current: apply_register(current, asked, now, most))
        except TooManyContacts:
            # A client that lost its connection registers its new one as another contact: what can't be reached
            # any more must not keep it out until it expires.
            found = self.store.bindings(aor)
            known = found if isinstance(found, tuple) else await found
            gone = {binding.contact for binding in known if self.is_gone(binding)}
            if not gone:
                raise
        return await self.store.update(
            aor,
            lambda current: apply_register(
                tuple(binding for binding in current if binding.contact not in gone), asked, now, most
            ),
        )


def _refusal(wrong: RegistrationError | SipSyntaxError) -> Answer:
    headers = wrong.headers if isinstance(wrong, RegistrationError) else ()
    return Answer(wrong.status, wrong.reason, headers)


def _used_outbound(request: Request, change: Registration | RemoveAll | None) -> bool:
    """Whether the client is to learn that its reg-id counted (RFC 5626 §6)."""
    if not isinstance(change, Registration) or "outbound" not in request.tokens(SUPPORTED):
        return False
    return any(contact.reg_id is not None for contact in change.contacts)


def _contact_line(binding: Binding, now: float) -> bytes:
    # Never 0, which would say that the binding is gone.
    line = f"Contact: <{binding.contact}>;expires={max(1, round(binding.expires_at - now))}"
    if binding.q != 1.0:
        line += f";q={binding.q:g}"
    if binding.instance is not None:
        line += f";+sip.instance={binding.instance}"
    if binding.reg_id is not None:
        line += f";reg-id={binding.reg_id}"
    return line.encode("utf-8", "surrogateescape")
