"""What DNS said to one question, read from a twisted.names result as from a stranger.

Only records that belong to the name asked count, or to where its CNAMEs in the same message lead. The
additional section is not read: its addresses are a favour that costs one query to do without, and a way to
plant lies.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from typing import Any

from attrs import evolve, frozen
from twisted.internet import defer
from twisted.names import dns, error
from twisted.python.failure import Failure

from .names import dns_name

MAX_RECORDS = 64
"""How many records of one answer are kept: the first addresses, the SRV records of lowest priority."""
MAX_TTL = 3600.0
"""Seconds. Whatever a zone says, it is asked again after an hour."""
MAX_NEGATIVE_TTL = 15.0
"""Seconds. A name that was made just now is found soon."""
FAILURE_TTL = 5.0
"""Seconds for which a DNS that does not answer is left alone (RFC 2308 §7), and for a 'no' without a TTL."""
MAX_ALIASES = 8

_CODES: tuple[tuple[type[Exception], str], ...] = (
    (error.DNSServerError, "SERVFAIL"),
    (error.DNSQueryRefusedError, "REFUSED"),
    (error.DNSFormatError, "FORMERR"),
    (error.DNSNotImplementedError, "NOTIMP"),
    (error.DNSUnknownError, "an unknown error code"),
    (defer.TimeoutError, "timeout"),
    (error.DNSQueryTimeoutError, "timeout"),
    (TimeoutError, "timeout"),
    (defer.CancelledError, "the resolver was closed"),
)


@frozen
class Question:
    """One question to DNS.

    :ivar name: see :func:`~sipmesh.resolver.names.is_dns_name`.
    :ivar type: ``dns.A``, ``dns.AAAA`` or ``dns.SRV``.
    """

    name: str
    type: int

    def __str__(self) -> str:
        return f"{self.name} {dns.QUERY_TYPES[self.type]}"


@frozen
class Service:
    """An SRV record (RFC 2782).

    :ivar target: a host name; ``""`` is the root, which says that the service is decidedly not available.
    """

    priority: int
    weight: int
    port: int
    target: str


@frozen
class Answer:
    """What DNS said. One of *addresses*, *services*, *alias* is there, or none, and then *said* tells why.

    :ivar addresses: IP addresses, as text.
    :ivar services: SRV records, in no particular order.
    :ivar alias: the name to ask next: a CNAME whose target the message told nothing about.
    :ivar said: in words: ``NXDOMAIN``, ``no such record``, ``timeout``.
    :ivar failed: True if that is no definite 'no': whether there are records is not known, or none is usable.
    :ivar ttl: seconds for which this may be kept.
    """

    addresses: tuple[str, ...] = ()
    services: tuple[Service, ...] = ()
    alias: str | None = None
    said: str = ""
    failed: bool = False
    ttl: float = FAILURE_TTL

    @property
    def is_no(self) -> bool:
        """Whether DNS definitely said that there is no such record."""
        return bool(self.said) and not self.failed


def read_answer(
    question: Question, records: Iterable[dns.RRHeader], authority: Iterable[dns.RRHeader]
) -> Answer:
    """Read a positive response.

    :param records: its answer section.
    :param authority: its authority section; the SOA there says for how long a 'no' may be kept.
    """
    owned: dict[str | None, list[dns.RRHeader]] = {}
    for record in records:
        if record.cls == dns.IN:
            owned.setdefault(dns_name(record.name.name), []).append(record)
    name, ttl, seen = question.name, MAX_TTL, {question.name}
    while True:
        here = owned.get(name, [])
        if found := [r for r in here if r.type == question.type]:
            answer = _services(found) if question.type == dns.SRV else _addresses(found)
            return evolve(answer, ttl=min(ttl, *(_seconds(r.ttl) for r in found)))
        aliases = [r for r in here if r.type == dns.CNAME]
        if not aliases:
            break
        ttl = min(ttl, _seconds(aliases[0].ttl))
        payload: Any = aliases[0].payload
        target = dns_name(payload.name.name)
        if target is None:
            return Answer(said="a CNAME to what is no host name", failed=True)
        if target in seen or len(seen) > MAX_ALIASES:
            return Answer(said="a loop of CNAMEs", failed=True)
        seen.add(target)
        name = target
    if name != question.name:
        return Answer(alias=name, ttl=ttl)
    return Answer(said="no such record", ttl=_negative_ttl(authority))


def read_failure(failure: Failure) -> Answer:
    """Read an error response, or what went wrong instead of one."""
    reason = failure.value
    if isinstance(reason, error.DNSNameError | error.AuthoritativeDomainError):
        # client.Resolver and DnsClient give the response; other resolvers need not.
        authority = [r for response in reason.args for r in getattr(response, "authority", ())]
        return Answer(said="NXDOMAIN", ttl=_negative_ttl(authority))
    for kind, said in _CODES:
        if isinstance(reason, kind):
            return Answer(said=said, failed=True)
    if isinstance(reason, error.DomainError):
        return Answer(said="no such record")  # what twisted.names.hosts says of a name that its file has not
    return Answer(said=f"{type(reason).__name__}: {reason}"[:120], failed=True)


def _seconds(ttl: int) -> float:
    # RFC 2181 §8: one with the highest bit set counts as 0.
    return 0.0 if ttl >= 2**31 else min(float(ttl), MAX_TTL)


def _negative_ttl(authority: Iterable[dns.RRHeader]) -> float:
    # RFC 2308 §5.
    for record in authority:
        if record.type == dns.SOA:
            soa: Any = record.payload
            return min(_seconds(record.ttl), _seconds(soa.minimum), MAX_NEGATIVE_TTL)
    return FAILURE_TTL


def _addresses(records: Sequence[dns.RRHeader]) -> Answer:
    usable = []
    for record in records[:MAX_RECORDS]:
        payload: Any = record.payload
        address = ip_address(payload.address)
        # These lead to nobody, or (0.0.0.0) back to ourselves.
        if not (address.is_unspecified or address.is_multicast):
            usable.append(str(address))
    if not usable:
        return Answer(said="no usable address", failed=True)
    return Answer(addresses=tuple(dict.fromkeys(usable)))


def _services(records: Sequence[dns.RRHeader]) -> Answer:
    usable = []
    for record in records:
        srv: Any = record.payload
        target = "" if srv.target.name in (b"", b".") else dns_name(srv.target.name)
        if target == "" or (target is not None and srv.port > 0):
            usable.append(Service(srv.priority, srv.weight, srv.port, target))
    if not usable:
        return Answer(said="no usable SRV record", failed=True)
    return Answer(services=tuple(sorted(usable, key=lambda s: s.priority)[:MAX_RECORDS]))
