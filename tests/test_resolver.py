"""RFC 3263 with a DNS that says what the test wants, on a fake clock."""

from __future__ import annotations

from contextlib import suppress

import pytest
from fake_dns import NXDOMAIN, SERVFAIL, SILENCE, Bench, a, aaaa, cname, result_of, soa, srv
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, TimeoutError, fail, succeed
from twisted.internet.task import Clock
from twisted.names import dns, error

from sipmesh.resolver import Candidate, NotReachable
from sipmesh.resolver.answer import MAX_RECORDS, Answer, Question, read_answer
from sipmesh.resolver.cache import AnswerCache
from sipmesh.resolver.locate import LONGEST, MAX_QUERIES
from sipmesh.resolver.plan import MAX_CANDIDATES
from sipmesh.sip import SipUri

# Rules 1 to 3: what needs no SRV ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "host", "port", "name"),
    [
        ("sips:192.0.2.7", "192.0.2.7", 5061, "192.0.2.7"),
        ("sip:u@192.0.2.7:5070", "192.0.2.7", 5070, "192.0.2.7"),
        ("sips:[2001:DB8::0:7]", "2001:db8::7", 5061, "[2001:db8::0:7]"),
        ("sips:[::1]:443", "::1", 443, "[::1]"),
    ],
)
def test_a_numeric_host_is_found_at_once(uri, host, port, name):
    bench = Bench()
    assert bench.begin(uri) == (Candidate(host, port, name),)
    assert bench.dns.asked == []


@pytest.mark.parametrize(
    "host",
    [
        "127.1",
        "010.0.0.1",
        "0x7f.0.0.1",
        "2130706433",
        "1.2.3.4.5",
        "300.0.0.1",
        "[1.2.3.4]",
        "a..example",
        ".example",
        "-a.example",
        "a-.example",
        "a.example..",
        "b" * 64 + ".example",
        "a." * 124 + "example",
    ],
)
def test_what_is_no_name_is_never_asked(host):
    bench = Bench()
    with pytest.raises(NotReachable, match="is neither an IP address nor a DNS name"):
        bench.locator.locate(SipUri("sips", None, host), False)
    assert bench.dns.asked == []


@pytest.mark.parametrize("scheme", ["sip", "sips"])
@pytest.mark.parametrize("transport", ["", ";transport=tls", ";transport=TLS", ";transport=tcp"])
def test_every_uri_goes_over_tls(scheme, transport):
    bench = Bench({"b.example A": [a("b.example")]})
    assert bench.locate(f"{scheme}:b.example{transport}") == (Candidate("192.0.2.1", 5061, "b.example"),)


@pytest.mark.parametrize("transport", ["udp", "sctp", "ws", "wss", "TLS-SCTP", "", "x" * 200])
def test_another_transport_is_not_reachable(transport):
    bench = Bench({"b.example A": [a("b.example")]})
    assert "is not TLS" in bench.refused(f"sip:b.example;transport={transport}")
    assert "is not TLS" in bench.refused(f"sip:192.0.2.1;transport={transport}")
    assert bench.dns.asked == []


def test_an_explicit_port_asks_for_addresses_only():
    bench = Bench({"b.example A": [a("b.example")], "_sips._tcp.b.example SRV": [srv("x", "y.example")]})
    assert bench.locate("sips:b.example:5099") == (Candidate("192.0.2.1", 5099, "b.example"),)
    assert sorted(bench.dns.asked) == ["b.example A", "b.example AAAA"]


# Rules 4 and 5: SRV -----------------------------------------------------------------------------------------

SIPS, FEDERATION = "_sips._tcp.b.example", "_sipfederationtls._tcp.b.example"


def test_a_partner_is_sought_by_its_federation_record_first():
    bench = Bench(
        {
            f"{FEDERATION} SRV": [srv(FEDERATION, "edge.b.example", 5269)],
            f"{SIPS} SRV": [srv(SIPS, "in.b.example")],
            "edge.b.example A": [a("edge.b.example", "192.0.2.2")],
            "in.b.example A": [a("in.b.example", "192.0.2.3")],
        }
    )
    assert bench.locate("sips:b.example", federated=True) == (Candidate("192.0.2.2", 5269, "b.example"),)
    assert bench.locate("sips:b.example", federated=False) == (Candidate("192.0.2.3", 5061, "b.example"),)


def test_without_srv_records_the_domain_itself_is_tried():
    bench = Bench({"b.example A": [a("b.example")], f"{FEDERATION} SRV": []})
    assert bench.locate("sips:b.example", federated=True) == (Candidate("192.0.2.1", 5061, "b.example"),)
    assert bench.dns.asked == [f"{FEDERATION} SRV", f"{SIPS} SRV", "b.example A", "b.example AAAA"]


def test_a_domain_too_long_for_a_service_has_none():
    domain = ".".join(["a" * 60] * 4)
    assert len(f"_sips._tcp.{domain}") > 253 > len(domain)
    bench = Bench({f"{domain} A": [a(domain)]})
    assert bench.locate(f"sips:{domain}", federated=True) == (Candidate("192.0.2.1", 5061, domain),)
    assert bench.dns.asked == [f"{domain} A", f"{domain} AAAA"]


@pytest.mark.parametrize("federated", [False, True])
def test_a_root_target_means_decidedly_not_available(federated):
    service = FEDERATION if federated else SIPS
    bench = Bench({f"{service} SRV": [srv(service, "", port=0)], "b.example A": [a("b.example")]})
    assert "decidedly not available" in bench.refused("sips:b.example", federated)
    assert bench.dns.asked == [f"{service} SRV"]


def test_a_root_target_beside_another_is_passed_over():
    bench = Bench(
        {f"{SIPS} SRV": [srv(SIPS, ""), srv(SIPS, "s.b.example")], "s.b.example A": [a("s.b.example")]}
    )
    assert bench.locate("sips:b.example") == (Candidate("192.0.2.1", 5061, "b.example"),)


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        (SERVFAIL, "SERVFAIL"),
        (error.DNSQueryRefusedError(), "REFUSED"),
        (error.DNSFormatError(), "FORMERR"),
        (error.DNSNotImplementedError(), "NOTIMP"),
        (error.DNSUnknownError(), "unknown error code"),
        (error.DNSQueryTimeoutError(7), "timeout"),
        (TimeoutError(), "timeout"),
        (OSError(101, "Network is unreachable"), "Network is unreachable"),
    ],
)
def test_a_dns_that_fails_has_not_said_that_there_is_no_service(reason, said):
    bench = Bench({f"{SIPS} SRV": reason, "b.example A": [a("b.example")]})
    because = bench.refused("sips:b.example")
    assert because.startswith(f"b.example: {SIPS} SRV: ")
    assert said in because
    assert bench.dns.asked == [f"{SIPS} SRV"]


@pytest.mark.parametrize(
    "bad", [srv(SIPS, "x.example", port=0), srv(SIPS, "192.0.2.1"), srv(SIPS, "a b.example")]
)
def test_srv_records_that_none_can_use_do_not_lead_back_to_the_domain(bad):
    bench = Bench({f"{SIPS} SRV": [bad], "b.example A": [a("b.example")]})
    assert "no usable SRV record" in bench.refused("sips:b.example")


def test_the_error_says_what_was_asked_and_what_dns_said():
    bench = Bench({f"{SIPS} SRV": [], "b.example A": SERVFAIL})
    assert bench.refused("sips:b.example") == (
        "b.example: _sips._tcp.b.example SRV: no such record; b.example A: SERVFAIL; b.example AAAA: NXDOMAIN"
    )


def test_the_error_stays_short():
    records = [srv(SIPS, f"host{n}.b.example") for n in range(40)]
    because = Bench({f"{SIPS} SRV": records}).refused("sips:b.example")
    assert because.endswith(f"(and {2 * MAX_CANDIDATES - 6} more)")


def test_a_target_without_addresses_does_not_spoil_the_others():
    bench = Bench(
        {
            f"{SIPS} SRV": [
                srv(SIPS, t, priority=p) for p, t in enumerate(["x.example", "y.example", "z.example"])
            ],
            "y.example A": SERVFAIL,
            "y.example AAAA": [aaaa("y.example")],
            "z.example A": [a("z.example")],
        }
    )
    assert [c.host for c in bench.locate("sips:b.example")] == ["2001:db8::1", "192.0.2.1"]


# Rules 6 and 7: the name meant ------------------------------------------------------------------------------


def test_maddr_is_ignored():
    bench = Bench({"b.example A": [a("b.example")]})
    assert bench.locate("sips:b.example:5061;maddr=192.0.2.66") == (
        Candidate("192.0.2.1", 5061, "b.example"),
    )
    assert bench.begin("sips:192.0.2.7;maddr=192.0.2.66") == (Candidate("192.0.2.7", 5061, "192.0.2.7"),)


def test_the_name_is_the_one_that_was_written_whatever_dns_returns():
    bench = Bench(
        {
            f"{SIPS} SRV": [cname(SIPS, "hosted.example"), srv("hosted.example", "Pool.Evil.Example")],
            "pool.evil.example A": [cname("pool.evil.example", "n1.evil.example"), a("n1.evil.example")],
        }
    )
    assert bench.locate("sips:B.Example.") == (Candidate("192.0.2.1", 5061, "b.example"),)


# Addresses --------------------------------------------------------------------------------------------------


def test_both_families_are_asked_at_once_and_tried_in_turn():
    bench = Bench({"b.example A": SILENCE, "b.example AAAA": SILENCE})
    found = bench.begin("sips:b.example:1")
    assert bench.dns.asked == ["b.example A", "b.example AAAA"]
    bench.dns.speak(
        [a("b.example", f"192.0.2.{n}") for n in (1, 2, 3)]
        + [aaaa("b.example", "2001:db8::9"), a("b.example")]
    )
    assert [c.host for c in result_of(found)] == ["192.0.2.1", "2001:db8::9", "192.0.2.2", "192.0.2.3"]


def test_candidates_are_bounded_and_different():
    names = [f"h{n}.example" for n in range(30)]
    bench = Bench({f"{SIPS} SRV": [srv(SIPS, n, priority=i) for i, n in enumerate(names)]})
    bench.dns.answers |= {
        f"{n} A": [a(n, "192.0.2.1"), a(n, f"192.0.2.{i + 2}")] for i, n in enumerate(names)
    }
    found = bench.locate("sips:b.example")
    assert [c.host for c in found] == [f"192.0.2.{n}" for n in range(1, MAX_CANDIDATES + 1)]
    assert len(bench.dns.asked) == 1 + 2 * MAX_CANDIDATES


def test_targets_on_one_host_are_looked_up_once():
    bench = Bench(
        {
            f"{SIPS} SRV": [srv(SIPS, "h.example", p, priority=p) for p in (1, 2)],
            "h.example A": [a("h.example")],
        }
    )
    assert [c.port for c in bench.locate("sips:b.example")] == [1, 2]
    assert bench.dns.asked == [f"{SIPS} SRV", "h.example A", "h.example AAAA"]


@pytest.mark.parametrize("address", ["0.0.0.0", "224.0.0.1"])
def test_an_address_that_leads_to_nobody_is_passed_over(address):
    bench = Bench({"b.example A": [a("b.example", address)], "b.example AAAA": [aaaa("b.example", "::")]})
    assert "b.example A: no usable address; b.example AAAA: no usable address" in bench.refused(
        "sips:b.example:1"
    )
    bench = Bench({"b.example A": [a("b.example", address), a("b.example")]})
    assert [c.host for c in bench.locate("sips:b.example:1")] == ["192.0.2.1"]


# Lies -------------------------------------------------------------------------------------------------------


def test_a_record_of_another_name_is_not_an_answer():
    bench = Bench({"b.example A": [a("evil.example"), cname("evil.example", "b.example")]})
    assert "b.example A: no such record" in bench.refused("sips:b.example:1")


def test_a_record_of_another_class_is_not_an_answer():
    chaos = a("b.example")
    chaos.cls = dns.CH
    assert "b.example A: no such record" in Bench({"b.example A": [chaos]}).refused("sips:b.example:1")


def test_an_address_that_no_cname_leads_to_is_not_an_answer():
    bench = Bench({"b.example A": [cname("b.example", "c.example"), a("d.example")]})
    bench.dns.answers["c.example A"] = [a("c.example", "192.0.2.9")]
    assert [c.host for c in bench.locate("sips:b.example:1")] == ["192.0.2.9"]


def test_additional_records_are_not_believed():
    question = Question(SIPS, dns.SRV)
    bench = Bench()
    bench.dns._lookup = lambda name, cls, kind, timeout: (
        succeed(([srv(SIPS, "s.example")], [], [a("s.example")])) if kind == question.type else fail(NXDOMAIN)
    )
    assert "s.example A: NXDOMAIN" in bench.refused("sips:b.example")


def test_a_loop_of_cnames_ends():
    loop = [cname("b.example", "c.example"), cname("c.example", "B.example")]
    bench = Bench({"b.example A": loop, "b.example AAAA": [cname("b.example", "b.example")]})
    assert bench.refused("sips:b.example:1").count("a loop of CNAMEs") == 2
    assert len(bench.dns.asked) == 2


def test_a_loop_of_cnames_over_several_answers_ends():
    bench = Bench(
        {
            "b.example A": [cname("b.example", "c.example", 0)],
            "c.example A": [cname("c.example", "b.example", 0)],
        }
    )
    assert "CNAMEs without an end" in bench.refused("sips:b.example:1")
    assert len(bench.dns.asked) < 20


def test_a_cname_to_what_is_no_name_ends():
    bench = Bench({"b.example A": [cname("b.example", "\0.example")]})
    assert "what is no host name" in bench.refused("sips:b.example:1")


def test_a_resolver_that_raises_or_talks_nonsense_is_not_believed():
    bench = Bench()
    bench.dns.lookupAddress = lambda name: 1 / 0
    bench.dns.lookupIPV6Address = lambda name: succeed(None)
    because = bench.refused("sips:b.example:1")
    assert "b.example A: ZeroDivisionError" in because
    assert "b.example AAAA: an answer that makes no sense" in because


def test_an_answer_keeps_a_bounded_number_of_records():
    many = [srv(SIPS, f"h{n}.example", priority=500 - n) for n in range(500)]
    answer = read_answer(Question(SIPS, dns.SRV), many, [])
    assert [s.priority for s in answer.services] == list(range(1, MAX_RECORDS + 1))
    many = [a("b.example", f"10.0.{n // 250}.{n % 250 + 1}") for n in range(500)]
    assert len(read_answer(Question("b.example", dns.A), many, []).addresses) == MAX_RECORDS


NAMES = ["b.example", SIPS, FEDERATION, "c.example", "C.example", "d.example", "", "\xff", "1.2", "x" * 70]
names = st.sampled_from(NAMES)
ttls = st.sampled_from([0, 1, 300, 2**31, 2**32 - 1])
records = st.one_of(
    st.builds(a, names, st.sampled_from(["0.0.0.0", "127.0.0.1", "192.0.2.1"]), ttls),
    st.builds(aaaa, names, st.sampled_from(["::", "::1", "ff02::1"]), ttls),
    st.builds(cname, names, names, ttls),
    st.builds(srv, names, names, st.sampled_from([0, 1, 65535]), st.just(0), st.sampled_from([0, 1]), ttls),
)
lies = st.one_of(st.lists(records, max_size=8), st.sampled_from([NXDOMAIN, SERVFAIL]))


@settings(max_examples=300)
@given(st.lists(lies, min_size=1, max_size=12), st.booleans(), st.booleans())
def test_no_lie_changes_the_name_or_keeps_the_search_from_ending(said, federated, port):
    bench = Bench()
    said_next = iter(said * 100)
    bench.dns.answers = type("Lies", (), {"get": lambda self, key, default: next(said_next)})()
    found = ()
    with suppress(NotReachable):
        found = bench.locate("sips:b.example" + ":5099" * port, federated)
        assert found
    assert len(found) == len(set(found)) <= MAX_CANDIDATES
    assert {c.name for c in found} <= {"b.example"}
    assert {c.host for c in found} <= {"127.0.0.1", "192.0.2.1", "::1"}
    assert all(0 < c.port < 65536 for c in found)
    assert all(len(asked) < 260 for asked in bench.dns.asked)
    assert bench.clock.getDelayedCalls() == []


# What is remembered -----------------------------------------------------------------------------------------


def test_what_is_known_is_found_at_once_until_its_ttl_ends():
    bench = Bench({"b.example A": [a("b.example", ttl=60)], "b.example AAAA": [aaaa("b.example", ttl=100)]})
    first = result_of(bench.begin("sips:b.example:1"))
    bench.clock.advance(59)
    assert bench.begin("sips:b.example:1") == first
    bench.clock.advance(1)
    bench.dns.answers["b.example A"] = [a("b.example", "192.0.2.99")]
    assert [c.host for c in result_of(bench.begin("sips:b.example:1"))] == ["192.0.2.99", "2001:db8::1"]
    assert bench.dns.asked == ["b.example A", "b.example AAAA", "b.example A"]


def test_a_refusal_that_is_known_is_raised_at_once():
    bench = Bench()
    bench.refused("sips:b.example:1")
    with pytest.raises(NotReachable):
        bench.begin("sips:b.example:1")


@pytest.mark.parametrize("ttl", [0, 2**31])
def test_a_ttl_of_zero_is_used_once(ttl):
    bench = Bench({"b.example A": [a("b.example", ttl=ttl)]})
    for _ in range(2):
        assert [c.host for c in bench.locate("sips:b.example:1")] == ["192.0.2.1"]
    assert bench.dns.asked.count("b.example A") == 2


def test_a_cname_shortens_the_ttl():
    bench = Bench({"b.example A": [cname("b.example", "c.example", 10), a("c.example", ttl=1000)]})
    for seconds in (0, 9, 1):
        bench.clock.advance(seconds)
        bench.locate("sips:b.example:1")
    assert bench.dns.asked.count("b.example A") == 2


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        ([a("b.example", ttl=2**31 - 1)], 3600),
        ([], 5),
        (NXDOMAIN, 5),
        (SERVFAIL, 5),
        (error.DNSNameError(type("M", (), {"authority": [soa(900, 900)]})), 15),
        (error.DNSNameError(type("M", (), {"authority": [soa(900, 7)]})), 7),
        (error.DNSNameError(type("M", (), {"authority": [soa(3, 900)]})), 3),
        (error.AuthoritativeDomainError(b"b.example"), 5),
        (error.DomainError(b"b.example"), 5),
    ],
)
def test_how_long_answers_are_kept(answer, kept):
    bench = Bench({"b.example A": answer, "b.example AAAA": [aaaa("b.example", ttl=3600)]})
    bench.locate("sips:b.example:1")
    bench.clock.advance(kept - 0.5)
    bench.locate("sips:b.example:1")
    assert bench.dns.asked.count("b.example A") == 1
    bench.clock.advance(1)
    bench.locate("sips:b.example:1")
    assert bench.dns.asked.count("b.example A") == 2


def test_a_no_with_an_soa_is_kept_as_long_as_that_says():
    answer = read_answer(Question("b.example", dns.A), [], [soa(12, 9)])
    assert (answer.is_no, answer.ttl) == (True, 9)


def test_the_cache_drops_what_was_used_longest_ago():
    cache = AnswerCache(Clock(), size=2)
    one, two, three = (Question(f"{n}.example", dns.A) for n in "abc")
    answer = Answer(addresses=("192.0.2.1",), ttl=10)
    cache.put(one, answer)
    cache.put(two, answer)
    assert cache.get(one) is answer
    cache.put(three, answer)
    assert [cache.get(q) for q in (one, two, three)] == [answer, None, answer]
    assert len(cache) == 2


def test_the_cache_has_no_room_for_a_ttl_of_zero():
    cache = AnswerCache(Clock())
    question = Question("b.example", dns.A)
    cache.put(question, Answer(addresses=("192.0.2.1",), ttl=10))
    cache.put(question, Answer(addresses=("192.0.2.2",), ttl=0))
    assert len(cache) == 0


# While DNS thinks -------------------------------------------------------------------------------------------


def test_equal_questions_are_asked_once():
    bench = Bench({"b.example A": SILENCE, "b.example AAAA": SILENCE})
    found = [bench.begin("sips:b.example:1") for _ in range(3)]
    found[1].cancel()
    assert len(bench.dns.asked) == 2
    bench.dns.speak([a("b.example")])
    assert result_of(found[0]) == result_of(found[2]) == (Candidate("192.0.2.1", 1, "b.example"),)
    with pytest.raises(CancelledError):
        result_of(found[1])
    assert bench.clock.getDelayedCalls() == []


def test_a_search_has_an_end():
    bench = Bench({"b.example A": SILENCE})
    found = bench.begin("sips:b.example:1")
    bench.clock.advance(LONGEST)
    with pytest.raises(NotReachable, match=r"b\.example: DNS took longer than 20 s"):
        result_of(found)
    assert bench.clock.getDelayedCalls() == []
    bench.dns.speak([a("b.example")])
    assert [c.host for c in bench.locate("sips:b.example:1")] == ["192.0.2.1"]
    assert bench.dns.asked.count("b.example A") == 1


def test_queries_under_way_are_bounded():
    bench = Bench({f"h{n}.example {kind}": SILENCE for n in range(MAX_QUERIES) for kind in ("A", "AAAA")})
    for n in range(MAX_QUERIES // 2):
        bench.begin(f"sips:h{n}.example:1").addErrback(lambda failure: failure.trap(NotReachable))
    assert "too many queries" in bench.refused("sips:other.example:1")
    assert len(bench.dns.asked) == MAX_QUERIES
    bench.dns.speak([])
    assert "NXDOMAIN" in bench.refused("sips:other.example:1")
