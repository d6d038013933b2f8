"""The resolver against a real DNS server, over UDP and TCP on the loopback.

Run as a program, this file is the experiment: one reactor, some servers with awkward zones, and the results
as JSON. Run by pytest, it starts that program once and looks at what came out.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import react

from sipmesh.resolver import Locator, NotReachable, make_dns
from sipmesh.sip import parse_sip_uri
from sipmesh.testing.dns import zone_server

SIPS, FEDERATION = "_sips._tcp.", "_sipfederationtls._tcp."

ZONE = {
    SIPS + "plain.example": ["SRV 20 0 5062 two.example", "SRV 10 0 5061 one.example."],
    "one.example": ["A 127.0.1.1"],
    "two.example": ["A 127.0.1.2", "AAAA ::2"],
    SIPS + "alias.example": ["SRV 0 0 5061 sip.alias.example"],
    "sip.alias.example": ["CNAME far.example"],
    "far.example": ["CNAME one.example"],
    SIPS + "moved.example": ["CNAME _sips._tcp.plain.example"],
    SIPS + "homeless.example": ["SRV 0 0 5061 nowhere.example"],
    SIPS + "closed.example": ["SRV 0 0 0 ."],
    "closed.example": ["A 127.0.1.1"],
    "six.example": ["AAAA ::6"],
    "fleeting.example": ["0 A 127.0.1.3"],
    SIPS + "broken.example": ["SERVFAIL"],
    "broken.example": ["A 127.0.1.1"],
    "loop.example": ["CNAME pool.example"],
    "pool.example": ["CNAME loop.example"],
    FEDERATION + "partner.example": ["SRV 0 0 5269 one.example"],
    SIPS + "partner.example": ["SRV 0 0 5061 two.example"],
    SIPS + "large.example": [f"SRV {n} 0 5061 host-{n:02}.some-longer-name.large.example" for n in range(40)],
    "host-00.some-longer-name.large.example": ["A 127.0.1.4"],
    "wide.example": [f"A 127.0.2.{n}" for n in range(1, 61)],
    "Upper.Example": ["A 127.0.1.5"],
    "silent.example": ["SILENCE"],
    SIPS + "silent.example": ["SILENCE"],
}
URIS = [
    "sips:plain.example",
    "sips:alias.example",
    "sips:moved.example",
    "sips:homeless.example",
    "sips:closed.example",
    "sips:six.example",
    "sips:fleeting.example",
    "sips:broken.example",
    "sips:loop.example",
    "sips:partner.example",
    "sips:large.example",
    "sips:wide.example:5070",
    "sip:u@uPPer.example;transport=tls",
    "sips:missing.example",
]


async def located(locator, uri, federated=False):
    try:
        found = locator.locate(parse_sip_uri(uri), federated)
        at_once = not isinstance(found, Deferred)
        candidates = found if at_once else await found
    except NotReachable as refused:
        return {"because": refused.because}
    return {"at": [f"{c.host} {c.port} {c.name}" for c in candidates], "at_once": at_once}


async def closed_while_asking(reactor, server):
    asked = make_dns(reactor, [server], timeout=(60,))
    pending = ensureDeferred(located(Locator(asked, reactor), "sips:silent.example"))
    await asked.close()
    return await pending


async def behind_another(reactor, first, second):
    """What is found where the first server is of no use."""
    asked = make_dns(reactor, [first, second], timeout=(0.2, 1, 5))
    found = await located(Locator(asked, reactor), "sips:plain.example:1")
    await asked.close()
    return found


class Mute(Protocol):
    """Takes a question over TCP and says nothing; tells when it has one, and when its client has left."""

    def __init__(self, asked, left):
        self.asked, self.left = asked, left

    def dataReceived(self, data):
        if not self.asked.called:
            self.asked.callback(None)

    def connectionLost(self, reason):
        self.left.callback(None)


class HangUp(Protocol):
    def dataReceived(self, data):
        self.transport.loseConnection()


async def truncated(reactor, protocol=None, close_when=None):
    """What is found if a truncated answer can't be had in whole, as nobody listens or *protocol* does."""
    server = zone_server(reactor, ZONE, "127.0.0.3")
    stream, datagrams = server._ports
    await stream.stopListening()
    if protocol is not None:
        stream = reactor.listenTCP(server.port, Factory.forProtocol(protocol), interface=server.address)
    asked = make_dns(reactor, [(server.address, server.port)], timeout=(60,))
    found = ensureDeferred(located(Locator(asked, reactor), "sips:large.example"))
    if close_when is not None:
        await close_when
        await asked.close()
        assert not reactor.getDelayedCalls()
    result = await found
    await asked.close()
    await datagrams.stopListening()
    if protocol is not None:
        await stream.stopListening()
    return result


async def closed_while_fetching(reactor):
    asked, left = Deferred(), Deferred()
    result = await truncated(reactor, lambda: Mute(asked, left), close_when=asked)
    await left
    return result


async def experiment(reactor):
    good = zone_server(reactor, ZONE)
    at = (good.address, good.port)
    mute = zone_server(reactor, {"plain.example": ["SILENCE"]}, "127.0.0.2")
    sick = zone_server(reactor, {"plain.example": ["SERVFAIL"]}, "127.0.0.2")
    asked = make_dns(reactor, [at], timeout=(5, 5))
    hasty = make_dns(reactor, [at], timeout=(0.1, 0.1))
    locator = Locator(asked, reactor, Random(1))
    zone = dict(ZONE, **{"plain.example": ["A 127.0.1.9"]})
    backup = zone_server(reactor, zone)
    results = {
        "first": {uri: await located(locator, uri) for uri in URIS},
        "again": {uri: await located(locator, uri) for uri in URIS},
        "federated": await located(locator, "sips:partner.example", federated=True),
        "mute": await behind_another(reactor, (mute.address, mute.port), (backup.address, backup.port)),
        "sick": await behind_another(reactor, (sick.address, sick.port), (backup.address, backup.port)),
        "silent": await located(Locator(hasty, reactor), "sips:silent.example"),
        "closed": await closed_while_asking(reactor, at),
        "refused": await truncated(reactor),
        "lost": await truncated(reactor, HangUp),
        "fetching": await closed_while_fetching(reactor),
        "any": [len(part) for part in await asked.lookupText("one.example")],
    }
    await asked.close()
    await hasty.close()
    for server in (good, mute, sick, backup):
        await server.stop()
    results["calls"] = [str(call) for call in reactor.getDelayedCalls()]
    results["readers"] = [
        str(reader) for reader in reactor.getReaders() if "Waker" not in type(reader).__name__
    ]
    print(json.dumps(results))


if __name__ == "__main__":
    react(lambda reactor: ensureDeferred(experiment(reactor)))


@pytest.fixture(scope="module")
def results():
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    done = subprocess.run(
        [sys.executable, str(Path(__file__))],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("uri", "at"),
    [
        (
            "sips:plain.example",
            ["127.0.1.1 5061 plain.example", "127.0.1.2 5062 plain.example", "::2 5062 plain.example"],
        ),
        ("sips:alias.example", ["127.0.1.1 5061 alias.example"]),
        (
            "sips:moved.example",
            ["127.0.1.1 5061 moved.example", "127.0.1.2 5062 moved.example", "::2 5062 moved.example"],
        ),
        ("sips:six.example", ["::6 5061 six.example"]),
        ("sips:fleeting.example", ["127.0.1.3 5061 fleeting.example"]),
        ("sips:partner.example", ["127.0.1.2 5061 partner.example", "::2 5061 partner.example"]),
        ("sip:u@uPPer.example;transport=tls", ["127.0.1.5 5061 upper.example"]),
    ],
)
def test_where_it_is(results, uri, at):
    assert results["first"][uri]["at"] == at


@pytest.mark.parametrize(
    ("uri", "because"),
    [
        ("sips:homeless.example", "nowhere.example A: NXDOMAIN; nowhere.example AAAA: NXDOMAIN"),
        ("sips:closed.example", "decidedly not available"),
        ("sips:broken.example", "_sips._tcp.broken.example SRV: SERVFAIL"),
        ("sips:loop.example", "loop.example A: a loop of CNAMEs; loop.example AAAA: a loop of CNAMEs"),
        ("sips:missing.example", "_sips._tcp.missing.example SRV: NXDOMAIN; missing.example A: NXDOMAIN"),
    ],
)
def test_why_it_is_nowhere(results, uri, because):
    assert because in results["first"][uri]["because"]


def test_a_silent_server_is_a_timeout(results):
    assert results["silent"]["because"] == "silent.example: _sips._tcp.silent.example SRV: timeout"


def test_a_truncated_answer_is_fetched_over_tcp(results):
    assert results["first"]["sips:large.example"]["at"] == ["127.0.1.4 5061 large.example"]
    assert results["first"]["sips:wide.example:5070"]["at"] == [
        f"127.0.2.{n} 5070 wide.example" for n in range(1, 17)
    ]


def test_what_is_known_comes_at_once_unless_its_ttl_is_0(results):
    again = {uri: found["at_once"] for uri, found in results["again"].items() if "at" in found}
    assert again.pop("sips:fleeting.example") is False
    assert set(again.values()) == {True}
    assert [r.get("at") for r in results["again"].values()] == [
        r.get("at") for r in results["first"].values()
    ]


def test_a_partner_is_found_by_its_federation_record(results):
    assert results["federated"]["at"] == ["127.0.1.1 5269 partner.example"]


@pytest.mark.parametrize("first", ["mute", "sick"])
def test_the_next_server_is_asked_where_the_first_is_of_no_use(results, first):
    assert results[first]["at"] == ["127.0.1.9 1 plain.example"]


@pytest.mark.parametrize("what", ["closed", "fetching"])
def test_close_ends_a_search(results, what):
    assert "the resolver was closed" in results[what]["because"]


@pytest.mark.parametrize(
    ("what", "because"), [("refused", "ConnectionRefusedError"), ("lost", "ConnectionLost")]
)
def test_a_truncated_answer_that_can_not_be_fetched_is_none(results, what, because):
    assert f"large.example SRV: {because}" in results[what]["because"]


def test_a_type_that_a_name_does_not_have_is_an_empty_answer(results):
    assert results["any"] == [0, 0, 0]


def test_nothing_is_left_behind(results):
    assert results["calls"] == []
    assert results["readers"] == []


@pytest.mark.parametrize(
    "line", ["", "60", "MX 10 b.example", "A", "A b.example", "A 127.0.0.1 x", "SRV 1 2 3", "SRV 0 0 70000 ."]
)
def test_a_record_that_can_not_be_read_is_refused(line):
    with pytest.raises(ValueError, match=r"^b\.example: "):
        zone_server(object(), {"b.example": [line]})  # refused before a port is opened
