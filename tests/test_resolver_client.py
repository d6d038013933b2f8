"""The DNS client on a network and a clock that the test holds."""

from __future__ import annotations

import pytest
from twisted.internet.defer import CancelledError, TimeoutError, ensureDeferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IReactorTCP, IReactorUDP
from twisted.internet.task import Clock
from twisted.names import dns, error
from zope.interface import implementer

from sipmesh.resolver import make_dns
from sipmesh.resolver.nameservers import ResolvConf, server

FIRST, SECOND = ("192.0.2.53", 53), ("2001:db8::53", 5353)


class Port:
    """A UDP port: the protocol of the client on it, and what it has sent."""

    def __init__(self, protocol, interface, unreachable):
        self.protocol = protocol
        self.interface = interface
        self.unreachable = unreachable
        self.sent = []
        self.open = True
        protocol.makeConnection(self)

    def write(self, data, address):
        if address in self.unreachable:
            raise OSError(101, "Network is unreachable")
        query = dns.Message()
        query.fromStr(data)
        self.sent.append((address, query))

    def stopListening(self):
        self.open = False
        self.protocol.doStop()
        return succeed(None)


@implementer(IReactorUDP, IReactorTCP)
class Network(Clock):
    def __init__(self):
        super().__init__()
        self.ports = []
        self.unreachable = set()
        self.full = False

    def listenUDP(self, port, protocol, interface="", maxPacketSize=8192):
        assert port == 0
        if self.full:
            raise CannotListenError(interface, port, OSError(24, "Too many open files"))
        self.ports.append(Port(protocol, interface, self.unreachable))
        return self.ports[-1]

    def listenTCP(self, port, factory, backlog=50, interface=""):
        raise NotImplementedError

    def connectTCP(self, host, port, factory, timeout=30, bindAddress=None):
        raise NotImplementedError

    @property
    def asked(self):
        return [address for port in self.ports for address, _ in port.sent]

    def answer(self, source=None, code=dns.OK, addresses=("192.0.2.1",), name=None, **fields):
        """Answer the last query, from where it went to if not from elsewhere."""
        port = next(p for p in reversed(self.ports) if p.sent)
        address, query = port.sent[-1]
        reply = dns.Message(fields.pop("id", query.id), answer=fields.pop("answer", 1), rCode=code)
        reply.queries = [dns.Query(name or query.queries[0].name.name, query.queries[0].type)]
        reply.answers = [
            dns.RRHeader(reply.queries[0].name.name, dns.A, payload=dns.Record_A(a)) for a in addresses
        ]
        port.protocol.datagramReceived(reply.toStr(), source or address)

    def is_clean(self):
        return not self.getDelayedCalls() and not any(port.open for port in self.ports)


@pytest.fixture
def network():
    return Network()


def client(network, servers=(FIRST, SECOND), **more):
    return make_dns(network, servers, timeout=(1, 2), **more)


def outcome(d):
    got = []
    d.addBoth(got.append)
    return got


def addresses(got):
    assert len(got) == 1
    assert isinstance(got[0], tuple), got[0]
    return [record.payload.dottedQuad() for record in got[0][0]]


def failed(got, kind):
    assert len(got) == 1
    return got[0].check(kind) is kind


def test_an_answer_comes_from_the_first_server_and_leaves_nothing_behind(network):
    got = outcome(client(network).lookupAddress("b.example"))
    assert network.asked == [FIRST]
    network.answer()
    assert addresses(got) == ["192.0.2.1"]
    assert network.is_clean()


def test_each_query_has_its_own_port_of_the_servers_family(network):
    got = outcome(client(network).lookupAddress("b.example"))
    network.advance(1)
    assert not got
    assert [(port.interface, len(port.sent)) for port in network.ports] == [("", 1), ("::", 1)]


def test_a_silent_server_is_asked_again_after_the_others(network):
    got = outcome(client(network).lookupAddress("b.example"))
    for seconds in (1, 1, 2):
        assert not got
        network.advance(seconds)
    assert network.asked == [FIRST, SECOND, FIRST, SECOND]
    network.answer()
    assert addresses(got) == ["192.0.2.1"]
    assert network.is_clean()


def test_silence_ends(network):
    got = outcome(client(network).lookupAddress("b.example"))
    network.pump([1, 1, 2, 2])
    assert failed(got, TimeoutError)
    assert network.is_clean()


@pytest.mark.parametrize("code", [dns.ESERVER, dns.EREFUSED, dns.ENOTIMP, dns.EFORMAT, 9])
def test_a_server_that_can_not_tell_is_passed_over(network, code):
    got = outcome(client(network).lookupAddress("b.example"))
    network.answer(code=code)
    network.answer()
    assert addresses(got) == ["192.0.2.1"]
    assert network.asked == [FIRST, SECOND]


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (dns.ESERVER, error.DNSServerError),
        (dns.EREFUSED, error.DNSQueryRefusedError),
        (9, error.DNSUnknownError),
    ],
)
def test_when_no_server_can_tell_the_error_says_so(network, code, kind):
    got = outcome(client(network).lookupAddress("b.example"))
    network.answer(code=code)
    network.answer(code=code)
    assert failed(got, kind)
    assert network.is_clean()


def test_a_no_is_final_and_carries_the_response(network):
    got = outcome(client(network).lookupAddress("b.example"))
    network.answer(code=dns.ENAME, addresses=())
    assert failed(got, error.DNSNameError)
    assert got[0].value.args[0].rCode == dns.ENAME
    assert network.asked == [FIRST]


def test_a_server_that_nothing_can_be_sent_to_is_passed_over_at_once(network):
    network.unreachable.add(FIRST)
    got = outcome(client(network).lookupAddress("b.example"))
    network.answer()
    assert addresses(got) == ["192.0.2.1"]
    assert network.is_clean()


def test_a_name_is_not_lost_when_no_port_could_be_opened(network):
    asked = client(network)
    network.full = True
    assert failed(outcome(asked.lookupAddress("b.example")), CannotListenError)
    network.full = False
    got = outcome(asked.lookupAddress("b.example"))
    network.answer()
    assert addresses(got) == ["192.0.2.1"]


@pytest.mark.parametrize(
    "forged", [{"source": ("192.0.2.66", 53)}, {"source": ("192.0.2.53", 54)}, {"id": 0}]
)
def test_a_forged_answer_is_not_heard(network, forged):
    asked = client(network)
    got = outcome(asked.lookupAddress("b.example"))
    if "id" in forged:
        forged = {"id": network.ports[0].sent[0][1].id ^ 1}
    network.answer(addresses=("192.0.2.66",), **forged)
    assert not got
    network.answer()
    assert addresses(got) == ["192.0.2.1"]


@pytest.mark.parametrize("wrong", [{"name": b"evil.example"}, {"answer": 0}])
def test_an_answer_to_another_question_is_none(network, wrong):
    got = outcome(client(network).lookupAddress("b.example"))
    network.answer(addresses=("192.0.2.66",), **wrong)
    assert not got
    network.answer()
    assert addresses(got) == ["192.0.2.1"]
    assert network.asked == [FIRST, SECOND]


def test_the_spelling_of_a_question_may_differ_in_case(network):
    got = outcome(client(network).lookupAddress("b.example"))
    network.answer(name=b"B.Example")
    assert addresses(got) == ["192.0.2.1"]


def test_close_ends_what_is_under_way(network):
    asked = client(network)
    got = outcome(asked.lookupAddress("b.example")), outcome(asked.lookupService("_sips._tcp.b.example"))
    closed = outcome(ensureDeferred(asked.close()))
    assert closed == [None]
    assert all(failed(one, CancelledError) for one in got)
    assert network.is_clean()
    assert failed(outcome(asked.lookupAddress("b.example")), error.ResolverError)
    assert outcome(ensureDeferred(asked.close())) == [None]


def test_cancelling_a_query_closes_its_port(network):
    d = client(network).lookupAddress("b.example")
    got = outcome(d)
    d.cancel()
    assert failed(got, CancelledError)
    assert network.is_clean()


def test_the_hosts_file_comes_first(network, tmp_path):
    hosts = tmp_path / "hosts"
    hosts.write_text("192.0.2.7 B.example b  # ours\n2001:db8::7 b.example\n192.0.2.8 b.example\n")
    asked = client(network, hosts=hosts)
    assert addresses(outcome(asked.lookupAddress("b.example"))) == ["192.0.2.7", "192.0.2.8"]
    assert len(outcome(asked.lookupIPV6Address("b.example"))[0][0]) == 1
    assert network.ports == []
    hosts.write_text("192.0.2.9 b.example\n")
    assert addresses(outcome(asked.lookupAddress("b.example"))) == ["192.0.2.9"]


def test_a_name_in_the_hosts_file_has_no_other_addresses(network, tmp_path):
    hosts = tmp_path / "hosts"
    hosts.write_text("192.0.2.7 b.example\n")
    assert outcome(client(network, hosts=hosts).lookupIPV6Address("b.example")) == [([], (), ())]
    assert network.ports == []


def test_other_names_and_services_are_asked_from_dns(network, tmp_path):
    hosts = tmp_path / "hosts"
    hosts.write_text("192.0.2.7 b.example\n")
    asked = client(network, hosts=hosts)
    for d in asked.lookupAddress("c.example"), asked.lookupService("b.example"):
        d.addErrback(lambda _: None)
    assert network.asked == [FIRST, FIRST]


def test_a_hosts_file_that_is_missing_is_an_error_at_once(network, tmp_path):
    with pytest.raises(FileNotFoundError):
        make_dns(network, [FIRST], tmp_path / "none")


# Which servers ----------------------------------------------------------------------------------------------


def test_a_servers_address_is_spelt_as_answers_will_be():
    assert server("2001:DB8:0:0::53", 53) == ("2001:db8::53", 53)
    assert server("::ffff:192.0.2.1", 53) == ("::ffff:192.0.2.1", 53)
    assert server("192.0.2.1", 5353) == ("192.0.2.1", 5353)


@pytest.mark.parametrize("host", ["dns.example", "", "192.0.2", "[::1]", "fe80::1%lo", "192.0.2.1\0"])
def test_a_server_given_by_anything_else_is_refused(network, host):
    with pytest.raises(ValueError, match="by its IP address"):
        make_dns(network, [(host, 53)])


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_a_port_that_is_none_is_refused(network, port):
    with pytest.raises(ValueError, match="port"):
        make_dns(network, [("192.0.2.1", port)])


def test_the_systems_servers_are_read_again_when_they_change(tmp_path):
    path = tmp_path / "resolv.conf"
    conf = ResolvConf(path)
    assert conf.servers() == (("127.0.0.1", 53),)
    path.write_text(
        "# nameserver 192.0.2.9\nsearch b.example\nnameserver 192.0.2.1\nnameserver 2001:DB8::1\n"
    )
    assert conf.servers() == (("192.0.2.1", 53), ("2001:db8::1", 53))
    path.write_text("nameserver\nnameserver x\nnameserver fe80::1%eth0\n" + "nameserver 192.0.2.2\n" * 9)
    assert conf.servers() == (("192.0.2.2", 53),) * 3
    path.unlink()
    assert conf.servers() == (("192.0.2.2", 53),) * 3


def test_a_file_without_servers_means_the_one_on_this_machine(tmp_path):
    path = tmp_path / "resolv.conf"
    path.write_text("search b.example\n")
    assert ResolvConf(path).servers() == (("127.0.0.1", 53),)
