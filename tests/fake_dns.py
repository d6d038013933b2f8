"""A DNS that says what the test wants, and a locator that asks it on a fake clock."""

from __future__ import annotations

from random import Random

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.names import common, dns, error

from sipmesh.resolver import Locator, NotReachable
from sipmesh.sip import parse_sip_uri

NXDOMAIN = error.DNSNameError()
SERVFAIL = error.DNSServerError()
SILENCE = None


def rr(name, payload, ttl=300):
    return dns.RRHeader(name.encode(), payload.TYPE, dns.IN, ttl, payload)


def a(name, address="192.0.2.1", ttl=300):
    return rr(name, dns.Record_A(address), ttl)


def aaaa(name, address="2001:db8::1", ttl=300):
    return rr(name, dns.Record_AAAA(address), ttl)


def cname(name, target, ttl=300):
    return rr(name, dns.Record_CNAME(target.encode()), ttl)


def srv(name, target, port=5061, priority=0, weight=0, ttl=300):
    return rr(name, dns.Record_SRV(priority, weight, port, target.encode()), ttl)


def soa(ttl, minimum):
    return rr("example", dns.Record_SOA(b"ns.example", b"root.example", minimum=minimum), ttl)


class FakeDns(common.ResolverBase):
    """Answers from a dict of ``"NAME TYPE"``: records, an exception or SILENCE; all else is NXDOMAIN."""

    def __init__(self, **answers):
        super().__init__()
        self.answers = {}
        self.asked = []
        self.silent = []

    def _lookup(self, name, cls, type, timeout):
        key = f"{name.decode()} {dns.QUERY_TYPES[type]}"
        self.asked.append(key)
        answer = self.answers.get(key, NXDOMAIN)
        if answer is SILENCE:
            self.silent.append((key, Deferred()))
            return self.silent[-1][1]
        if isinstance(answer, Exception):
            return fail(answer)
        return succeed((answer, [], []))

    def speak(self, records):
        for _, waiting in self.silent:
            waiting.callback((records, [], []))
        self.silent.clear()


class Bench:
    def __init__(self, answers=()):
        self.dns = FakeDns()
        self.dns.answers.update(answers)
        self.clock = Clock()
        self.locator = Locator(self.dns, self.clock, Random(1))

    def begin(self, uri, federated=False):
        return self.locator.locate(parse_sip_uri(uri), federated)

    def locate(self, uri, federated=False):
        found = self.begin(uri, federated)
        return result_of(found) if isinstance(found, Deferred) else found

    def refused(self, uri, federated=False):
        with pytest.raises(NotReachable) as raised:
            self.locate(uri, federated)
        assert str(raised.value) == raised.value.because
        return raised.value.because


def result_of(d):
    got = []
    d.addBoth(got.append)
    assert got, "the Deferred has no result yet"
    if hasattr(got[0], "raiseException"):
        got[0].raiseException()
    return got[0]
