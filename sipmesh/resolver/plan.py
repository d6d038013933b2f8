"""The rules of RFC 3263 for a mesh that speaks TLS only, as a conversation: no I/O, no clock.

1. Every hop is TLS over TCP. ``sips:`` means that, ``sip:`` with ``transport=tls`` does, and a plain ``sip:``
   URI, or one with ``transport=tcp``, is sent that way all the same: nothing here goes in clear. Any other
   transport is not reachable. There are no NAPTR queries: they could only choose a transport.
2. A numeric host is the address; its port is the URI's, else 5061.
3. An explicit port says that there is nothing to look up but addresses.
4. Else SRV: to a partner ``_sipfederationtls._tcp`` first, then ``_sips._tcp``; to a server of ours, the
   latter. The first that has records decides; a lone target ``.`` says that there is decidedly no service.
5. Where there is no SRV record at all: the addresses of the domain, port 5061. A DNS that fails to say
   whether there is one has not said so, and the domain is not reachable.
6. ``maddr`` is ignored: never connect elsewhere than the name meant says. It would have us do that on the
   word of whoever wrote the URI, to a server that still could not prove the name.
7. The name meant is the URI's host, whatever SRV and CNAME records say (RFC 5922 §4).
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from itertools import chain, islice, zip_longest
from random import Random
from typing import TypeVar

from attrs import field, frozen
from twisted.names import dns

from ..sip import SipUri
from .answer import MAX_ALIASES, Answer, Question
from .candidate import Candidate, NotReachable
from .names import is_dns_name, numeric_host
from .order import in_order

SIPS_PORT = 5061
MAX_CANDIDATES = 16
"""How many places are tried at most; also how many SRV targets are looked up."""

_FEDERATION = "_sipfederationtls._tcp"
_SIPS = "_sips._tcp"
_TRANSPORTS = frozenset({"tls", "tcp"})
_MOST_SAID = 6

_T = TypeVar("_T")
Steps = Generator[tuple[Question, ...], tuple[Answer, ...], _T]
"""Yields questions, to be asked all at once; is sent their answers, in that order; returns the outcome."""


@frozen
class _Place:
    host: str
    port: int


@frozen
class _Trail:
    """What was asked and what DNS said, as far as it led nowhere."""

    _said: list[str] = field(factory=list)

    def add(self, asked: object, said: str) -> None:
        self._said.append(f"{asked}: {said}")

    def __str__(self) -> str:
        more = f" (and {len(self._said) - _MOST_SAID} more)" if len(self._said) > _MOST_SAID else ""
        return "; ".join(self._said[:_MOST_SAID]) + more


def plan(uri: SipUri, federated: bool, rng: Random) -> Steps[tuple[Candidate, ...]]:
    """From a URI to candidates, best first.

    :param federated: whether the URI's domain is a partner's.
    :param rng: chooses among SRV records of one priority.
    :return: 1 to :data:`MAX_CANDIDATES` different candidates.
    :raises NotReachable: if there are none; no question is open then.
    """
    name = uri.domain
    transport = uri.param("transport")
    if transport is not None and transport.lower() not in _TRANSPORTS:
        raise NotReachable(f"{name}: transport {transport[:40]!a} is not TLS")
    if (address := numeric_host(name)) is not None:
        return (Candidate(address, uri.port or SIPS_PORT, name),)
    if not is_dns_name(name):
        raise NotReachable(f"{name[:80]!a} is neither an IP address nor a DNS name")
    trail = _Trail()
    if uri.port is not None:
        places: tuple[_Place, ...] = (_Place(name, uri.port),)
    else:
        places = (yield from _services(name, federated, rng, trail)) or (_Place(name, SIPS_PORT),)
    addresses = yield from _addresses((p.host for p in places), trail)
    candidates = dict.fromkeys(Candidate(a, p.port, name) for p in places for a in addresses[p.host])
    if not candidates:
        raise NotReachable(f"{name}: {trail}")
    return tuple(islice(candidates, MAX_CANDIDATES))


def _services(name: str, federated: bool, rng: Random, trail: _Trail) -> Steps[tuple[_Place, ...]]:
    """Where SRV says that the domain is served; nowhere, if there is no SRV record at all."""
    for service in (_FEDERATION, _SIPS) if federated else (_SIPS,):
        question = Question(f"{service}.{name}", dns.SRV)
        if not is_dns_name(question.name):
            trail.add(f"{service} SRV", "the name would be too long to exist")
            continue
        answer = (yield from _follow((question,)))[question]
        if answer.said:
            trail.add(question, answer.said)
            if not answer.is_no:
                raise NotReachable(f"{name}: {trail}")
            continue
        served = tuple(s for s in answer.services if s.target)
        if not served:
            raise NotReachable(f"{name}: {question}: '.', the service is decidedly not available")
        return tuple(_Place(s.target, s.port) for s in islice(in_order(served, rng), MAX_CANDIDATES))
    return ()


def _addresses(hosts: Iterable[str], trail: _Trail) -> Steps[dict[str, list[str]]]:
    """All addresses of each host: IPv4 and IPv6 in turn, so that a network that lacks one costs one try."""
    pairs = {host: (Question(host, dns.A), Question(host, dns.AAAA)) for host in hosts}
    answers = yield from _follow(tuple(chain.from_iterable(pairs.values())))
    for question, answer in answers.items():
        if answer.said:
            trail.add(question, answer.said)
    return {host: _in_turn(answers[v4].addresses, answers[v6].addresses) for host, (v4, v6) in pairs.items()}


def _in_turn(some: Iterable[str], others: Iterable[str]) -> list[str]:
    return [a for both in zip_longest(some, others) for a in both if a is not None]


def _follow(questions: tuple[Question, ...]) -> Steps[dict[Question, Answer]]:
    """Ask all at once, and where a CNAME leads out of the answer, there again."""
    answers: dict[Question, Answer] = {}
    asking = {question: question for question in questions}
    for _ in range(MAX_ALIASES):
        if not asking:
            return answers
        different = tuple(dict.fromkeys(asking.values()))
        told = dict(zip(different, (yield different), strict=True))
        following: dict[Question, Question] = {}
        for question, asked in asking.items():
            answer = told[asked]
            if answer.alias is None:
                answers[question] = answer
            else:
                following[question] = Question(answer.alias, question.type)
        asking = following
    return answers | dict.fromkeys(asking, Answer(said="a chain of CNAMEs without an end", failed=True))
