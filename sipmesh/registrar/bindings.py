"""What a REGISTER does to the bindings of an address of record. Pure: no store, no clock, no request.

RFC 3261 §10.3 steps 6 and 7; RFC 5626 §6 for contacts that name their instance and flow.
"""

from __future__ import annotations

from attrs import Attribute, field, frozen
from attrs.validators import ge, le

from ..decisions import Binding, Bindings
from ..sip import Uri, parse_uri

# Why a REGISTER changes nothing ----------------------------------------------------------------------------


class RegistrationError(Exception):
    """A REGISTER that fails as a whole: nothing was changed.

    :ivar status: the status code that answers it.
    :ivar reason: the reason phrase.
    :ivar headers: whole header lines that the response has to have, without CRLF.
    """

    def __init__(self, status: int, reason: str, *headers: bytes) -> None:
        super().__init__(f"{status} {reason}")
        self.status = status
        self.reason = reason
        self.headers = headers


class InvalidRegistration(RegistrationError):
    """Well-formed, but it asks for something that must not be asked: 400."""

    def __init__(self, reason: str) -> None:
        super().__init__(400, reason)


class TooManyContacts(RegistrationError):
    """More contacts than one address of record may have: 403."""

    def __init__(self, most: int) -> None:
        super().__init__(403, f"Too many contacts: at most {most} for an address of record")


class ExtensionUnsupported(RegistrationError):
    """An extension is required that we do not have, or used without the client having it: 420."""

    def __init__(self, *tags: str) -> None:
        super().__init__(420, "Bad Extension", b"Unsupported: " + ", ".join(tags).encode())


class IntervalTooBrief(RegistrationError):
    """The client wants to refresh more often than we allow: 423."""

    def __init__(self, minimum: int) -> None:
        super().__init__(423, "Interval Too Brief", b"Min-Expires: %d" % minimum)


class FirstHopLacksOutbound(RegistrationError):
    """The client's first proxy does not keep track of its flow (RFC 5626 §11.6): 439."""

    def __init__(self) -> None:
        super().__init__(439, "First Hop Lacks Outbound Support")


class OutOfOrder(RegistrationError):
    """A newer REGISTER of the same Call-ID, or this very one, was here before: 500."""

    def __init__(self) -> None:
        super().__init__(500, "CSeq not higher than that of the binding")


# What may be asked, and what is asked ----------------------------------------------------------------------


def _between_minimum_and_maximum(bounds: RegistrationBounds, _: Attribute[int], default: int) -> None:
    if not bounds.minimum <= default <= bounds.maximum:
        allowed = f"'minimum' ({bounds.minimum}) and 'maximum' ({bounds.maximum})"
        raise ValueError(f"'default' must be between {allowed}: {default}")


@frozen
class RegistrationBounds:
    """What a client may ask for.

    :ivar minimum: seconds; who asks for less gets 423. At most one hour: who asks for an hour or more may not
        be refused (RFC 3261 §10.3 step 7).
    :ivar maximum: seconds; who asks for more gets this.
    :ivar default: seconds, for who does not ask.
    :ivar contacts: how many bindings one address of record may have.
    """

    minimum: int = field(default=60, validator=[ge(1), le(3600)])
    maximum: int = field(default=3600, validator=le(2**32 - 1))
    default: int = field(default=600, validator=_between_minimum_and_maximum)
    contacts: int = field(default=10, validator=ge(1))


@frozen
class ContactChange:
    """What a REGISTER asks for one contact.

    :ivar expires: seconds from now, within the bounds; 0 removes.
    :ivar q: 0 to 1.
    :ivar instance: ``+sip.instance`` as written.
    :ivar reg_id: None where there is none, or where it is to be ignored (RFC 5626 §6).
    """

    uri: Uri
    expires: int
    q: float = 1.0
    instance: str | None = None
    reg_id: int | None = None

    def matches(self, binding: Binding) -> bool:
        """Whether this is about that binding.

        One with a reg-id is known by instance and reg-id, whatever its URI (RFC 5626 §6); any other by its
        URI (RFC 3261 §19.1.4). The one kind never replaces the other.
        """
        if self.reg_id != binding.reg_id:
            return False
        if self.reg_id is None:
            return self.uri.equivalent(parse_uri(binding.contact))
        return _comparable(self.instance) == _comparable(binding.instance)


@frozen
class Registration:
    """A REGISTER with contacts.

    :ivar path: the way to the client, nearest to us first.
    :ivar contacts: in the order of the request.
    """

    call_id: str
    cseq: int
    contacts: tuple[ContactChange, ...]
    path: tuple[str, ...] = ()
    user_agent: str = ""


@frozen
class RemoveAll:
    """A REGISTER with ``Contact: *``."""

    call_id: str
    cseq: int


def _comparable(instance: str | None) -> str | None:
    """UUIDs are equal whatever the case of their digits (RFC 4122 §3); other URNs are compared as spelt."""
    if instance is not None and instance.lower().startswith('"<urn:uuid:'):
        return instance.lower()
    return instance


# The update ------------------------------------------------------------------------------------------------


def apply_register(current: Bindings, change: Registration | RemoveAll, now: float, most: int) -> Bindings:
    """The bindings after a REGISTER; all of it is done, or (it raises) nothing.

    :param current: the unexpired bindings.
    :param now: Unix time, seconds.
    :param most: how many bindings there may be. More that are there already may be refreshed, not added to.
    :raises OutOfOrder: if a binding that it is about has its Call-ID and no lower CSeq.
    :raises TooManyContacts: if it would add beyond ``most``.
    """
    if isinstance(change, RemoveAll):
        for binding in current:
            _check_order(binding, change)
        return ()
    kept, made = current, Bindings()
    for contact in change.contacts:
        for binding in kept:
            if contact.matches(binding):
                _check_order(binding, change)
        # A request may remove what it then adds (a client that moved does): the order is checked against
        # earlier requests only. Equivalence of URIs is not transitive, so that more than one may go.
        kept, made = (tuple(b for b in some if not contact.matches(b)) for some in (kept, made))
        if contact.expires:
            made += (_binding(contact, change, now),)
    if len(kept) + len(made) > max(most, len(current)):
        raise TooManyContacts(most)
    return kept + made


def _check_order(binding: Binding, change: Registration | RemoveAll) -> None:
    if binding.call_id == change.call_id and change.cseq <= binding.cseq:
        raise OutOfOrder


def _binding(contact: ContactChange, change: Registration, now: float) -> Binding:
    return Binding(
        contact=str(contact.uri),
        expires_at=now + contact.expires,
        q=contact.q,
        call_id=change.call_id,
        cseq=change.cseq,
        path=change.path,
        instance=contact.instance,
        reg_id=contact.reg_id,
        user_agent=change.user_agent,
    )
