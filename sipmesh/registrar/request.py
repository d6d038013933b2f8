"""What a REGISTER asks for: from the request's header fields to a change of bindings. Pure.

RFC 3261 §10.3 steps 2, 6 and 7, RFC 3327 §5.3, RFC 5626 §6.

**Path.** Each proxy on the way puts its own URI on top, so the values in the order of the request lead from
us to the client, and are stored so (RFC 3327 §5.2, §5.3). Where we are the first hop ourselves (the request
has one Via, the client's), we are also the client's edge: our own value, which leads to the flow, comes
first, before any that the client itself put there (§5.1 lets it). Where the request came through others
that left no Path, our flow to the nearest of them is all that is known of the way. The response shows the
request's values, unchanged.

A Path from a client that does not say ``Supported: path`` gets 420, as §5.3 recommends: so it notices a
proxy that put itself in the way of its calls.
"""

from __future__ import annotations

import re

from ..sip import Request, SipSyntaxError, SipUri
from ..sip.headers import parse_address, parse_qvalue
from ..sip.names import CONTACT, EXPIRES, PATH, REQUIRE, SUPPORTED, VIA
from .bindings import (
    ContactChange,
    ExtensionUnsupported,
    FirstHopLacksOutbound,
    IntervalTooBrief,
    InvalidRegistration,
    Registration,
    RegistrationBounds,
    RemoveAll,
    TooManyContacts,
)

EXTENSIONS = ("path", "outbound")
"""The extensions that a REGISTER may require."""

_CONTROLS = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_DIGITS = re.compile(r"[0-9]+")
_HOUR = 3600
_LONGEST = 2**32 - 1
_USER_AGENT_LENGTH = 120


def read_register(request: Request, edge: str, bounds: RegistrationBounds) -> Registration | RemoveAll | None:
    """What the request asks for; None if it only asks which bindings there are.

    :param edge: a Path value (``<sip:token@us;lr>``) that leads to the flow on which the request came.
    :raises SipSyntaxError: if something in it is malformed.
    :raises RegistrationError: if it asks for what it may not have.
    """
    _check_required(request)
    direct = len(request.values(VIA)) < 2
    path = _read_path(request)
    route = (edge, *path) if direct or not path else path
    call_id, cseq = _text(request.call_id, "Call-ID"), request.cseq.number
    values = request.values(CONTACT)
    if not values:
        return None
    if b"*" in values:
        if len(values) > 1 or _expires_field(request) != 0:
            raise InvalidRegistration("Contact: * has to stand alone, with Expires: 0")
        return RemoveAll(call_id, cseq)
    # Each is compared with each: bounded, and so that a client can still replace all that it has.
    if len(values) > 2 * bounds.contacts:
        raise TooManyContacts(bounds.contacts)
    with_flow = direct or _first_hop_has_outbound(path)
    contacts = tuple(_read_contact(value, request, bounds, with_flow) for value in values)
    if sum(1 for c in contacts if c.expires) > 1 and any(c.reg_id is not None for c in contacts):
        raise InvalidRegistration("A contact with reg-id has to be the only one that is registered")
    return Registration(call_id, cseq, contacts, route, _user_agent(request))


def _check_required(request: Request) -> None:
    """RFC 3261 §8.2.2.3."""
    unknown = sorted(request.tokens(REQUIRE).difference(EXTENSIONS))
    for tag in unknown:
        if re.fullmatch(r"[a-z0-9.!%*_+`'~-]+", tag) is None:
            raise SipSyntaxError("malformed option tag in Require")
    if unknown:
        raise ExtensionUnsupported(*unknown)


def _read_path(request: Request) -> tuple[str, ...]:
    path = tuple(_text(value, "Path") for value in request.values(PATH))
    for value in path:
        uri = parse_address(value.encode("utf-8", "surrogateescape")).uri
        if not isinstance(uri, SipUri) or uri.param("lr") is None:
            raise SipSyntaxError("a Path value has to be a sip or sips URI with ;lr, in angle brackets")
    if path and "path" not in request.tokens(SUPPORTED):
        raise ExtensionUnsupported("path")
    return path


def _first_hop_has_outbound(path: tuple[str, ...]) -> bool:
    """Whether the proxy nearest to the client marked its value ``;ob``, as only that may (RFC 5626 §5.1)."""
    if not path:
        return False
    first = parse_address(path[-1].encode("utf-8", "surrogateescape")).uri
    return isinstance(first, SipUri) and first.param("ob") is not None


def _read_contact(
    value: bytes, request: Request, bounds: RegistrationBounds, with_flow: bool
) -> ContactChange:
    _text(value, "Contact")
    address = parse_address(value)
    instance = address.param("+sip.instance") or None
    reg_id = _read_reg_id(address.param("reg-id"))
    if reg_id is not None and not with_flow:
        if "outbound" in request.tokens(SUPPORTED):
            raise FirstHopLacksOutbound
        reg_id = None
    return ContactChange(
        uri=address.uri,
        expires=_expires(address.param("expires"), request, bounds),
        q=parse_qvalue(address.param("q")),
        instance=instance,
        reg_id=None if instance is None else reg_id,
    )


def _read_reg_id(text: str | None) -> int | None:
    """RFC 5626 §4.2.1 and §14: 1 to 2**31-1."""
    if text is None:
        return None
    if re.fullmatch(r"[0-9]{1,10}", text) is None or not 0 < int(text) < 2**31:
        raise SipSyntaxError("reg-id is not a number from 1 to 2147483647")
    return int(text)


def _expires(param: str | None, request: Request, bounds: RegistrationBounds) -> int:
    """The interval that a contact gets: its own ``expires``, else the request's Expires, else the default.

    :raises IntervalTooBrief: if it is below the minimum, and above 0 and below an hour.
    """
    asked = _expires_field(request) if param is None else _seconds(param)
    if asked is None:
        asked = bounds.default
    if 0 < asked < min(bounds.minimum, _HOUR):
        raise IntervalTooBrief(bounds.minimum)
    return min(asked, bounds.maximum)


def _expires_field(request: Request) -> int | None:
    value = request.first(EXPIRES)
    return None if value is None else _seconds(value.decode("utf-8", "replace"))


def _seconds(text: str) -> int:
    """RFC 3261 §10.2: what is malformed counts as an hour, what is too large as 2**32-1."""
    if _DIGITS.fullmatch(text) is None:
        return _HOUR
    return int(text) if len(text) <= 10 and int(text) < _LONGEST else _LONGEST


def _text(value: bytes, what: str) -> str:
    """What is stored goes into later messages, listings and terminals: no control characters.

    :raises SipSyntaxError: if there is one.
    """
    if _CONTROLS.search(value) is not None:
        raise SipSyntaxError(f"control character in {what}")
    return value.decode("utf-8", "surrogateescape")


def _user_agent(request: Request) -> str:
    return "".join(c for c in request.header("User-Agent") or "" if c.isprintable())[:_USER_AGENT_LENGTH]
