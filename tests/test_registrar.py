"""The registrar, rule by rule: RFC 3261 §10.3, RFC 3327 §5.3, RFC 5626 §6. On a fake clock."""

from __future__ import annotations

from collections.abc import Awaitable

import pytest
from attrs import define, evolve, field
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from zope.interface import implementer
from zope.interface.verify import verifyObject

from sipmesh.decisions import Binding, Bindings
from sipmesh.interfaces import ILocationStore
from sipmesh.registrar.bindings import (
    ContactChange,
    OutOfOrder,
    Registration,
    RegistrationBounds,
    RemoveAll,
    TooManyContacts,
    apply_register,
)
from sipmesh.registrar.registrar import Answer, Registrar
from sipmesh.sip import Request, parse_message, parse_uri
from sipmesh.testing.locations import MemoryLocations

ALICE = "sip:alice@a.example"
EDGE = "<sip:token@edge.a.example;lr>"
PATH = "Path: <sip:p3.a.example;lr>,<sip:p1.visited.example;lr>"
INSTANCE = '+sip.instance="<urn:uuid:00000000-0000-1000-8000-AABBCCDDEEFF>"'
EPOCH = 784111777.0  # Sun, 06 Nov 1994 08:49:37 GMT


@define
class Service:
    """A registrar with a clock, a store, and a client of one Call-ID that counts its requests."""

    bounds: RegistrationBounds = field(factory=RegistrationBounds)
    clock: Clock = field(factory=Clock)
    store: MemoryLocations = field(init=False)
    cseq: int = 0

    def __attrs_post_init__(self) -> None:
        self.clock.advance(EPOCH)
        self.store = MemoryLocations(self.clock.seconds)

    def register(self, *lines: str, call_id: str = "a@192.0.2.1", cseq: int | None = None) -> Answer:
        self.cseq += 1
        request = register(*lines, call_id=call_id, cseq=self.cseq if cseq is None else cseq)
        registrar = Registrar(self.store, self.bounds, self.clock.seconds)
        return result(registrar.register(request, ALICE, EDGE))

    def bindings(self) -> Bindings:
        return self.store.bindings(ALICE)

    def contacts(self) -> list[str]:
        return [binding.contact for binding in self.bindings()]


@pytest.fixture
def service() -> Service:
    return Service()


def register(*lines: str, call_id: str = "a@192.0.2.1", cseq: int = 1) -> Request:
    head = [
        "REGISTER sip:a.example SIP/2.0",
        "Via: SIP/2.0/TLS 192.0.2.1;branch=z9hG4bK1",
        f"From: <{ALICE}>;tag=1",
        f"To: <{ALICE}>",
        f"Call-ID: {call_id}",
        f"CSeq: {cseq} REGISTER",
        *lines,
    ]
    request = parse_message("\r\n".join([*head, "", ""]).encode())
    assert isinstance(request, Request)
    return request


def result(answer: Answer | Awaitable[Answer]) -> Answer:
    if isinstance(answer, Answer):
        return answer
    assert isinstance(answer, Deferred)
    got: list[Answer] = []
    answer.addCallback(got.append)
    return got[0]


def lines_of(answer: Answer, name: str) -> list[str]:
    lines = [line.decode() for line in answer.headers]
    return [line.partition(": ")[2] for line in lines if line.startswith(name + ": ")]


# Step 2: Require -------------------------------------------------------------------------------------------


def test_an_extension_that_is_required_and_unknown_is_refused_by_name(service: Service) -> None:
    answer = service.register("Require: path, gruu, 100rel", "Contact: <sip:alice@192.0.2.1>")
    assert (answer.status, answer.reason) == (420, "Bad Extension")
    assert lines_of(answer, "Unsupported") == ["100rel, gruu"]
    assert service.bindings() == ()


def test_extensions_that_we_have_may_be_required(service: Service) -> None:
    assert service.register("Require: path, outbound").status == 200


def test_a_require_that_is_no_token_is_not_echoed(service: Service) -> None:
    answer = service.register('Require: "<x>"')
    assert (answer.status, answer.headers) == (400, ())


# Step 6: queries and Contact: * ----------------------------------------------------------------------------


def test_without_contact_the_bindings_are_listed_and_unchanged(service: Service) -> None:
    service.register("Contact: <sip:alice@192.0.2.1>;expires=600;q=0.5", "Contact: <tel:+49891234>")
    before = service.bindings()
    service.clock.advance(100)
    answer = service.register(call_id="another")
    assert answer.status == 200
    assert sorted(lines_of(answer, "Contact")) == [
        "<sip:alice@192.0.2.1>;expires=500;q=0.5",
        "<tel:+49891234>;expires=500",
    ]
    assert service.bindings() == before


def test_a_query_of_nobody_lists_nothing(service: Service) -> None:
    answer = service.register()
    assert (answer.status, lines_of(answer, "Contact")) == (200, [])


def test_star_removes_all_bindings(service: Service) -> None:
    service.register("Contact: <sip:1@192.0.2.1>, <sip:2@192.0.2.1>")
    service.register("Contact: <sip:3@192.0.2.1>", call_id="another")
    answer = service.register("Contact: *", "Expires: 0")
    assert (answer.status, lines_of(answer, "Contact")) == (200, [])
    assert service.bindings() == ()


@pytest.mark.parametrize(
    "lines",
    [
        ("Contact: *",),
        ("Contact: *", "Expires: 1"),
        ("Contact: *", "Expires: soon"),
        ("Contact: *, <sip:2@192.0.2.1>", "Expires: 0"),
        ("Contact: *", "Contact: *", "Expires: 0"),
        ("Contact: *;expires=0", "Expires: 0"),
    ],
)
def test_star_has_to_stand_alone_with_expires_0(service: Service, lines: tuple[str, ...]) -> None:
    service.register("Contact: <sip:1@192.0.2.1>")
    assert service.register(*lines).status == 400
    assert service.contacts() == ["sip:1@192.0.2.1"]


def test_a_star_that_is_older_than_one_of_the_bindings_removes_none(service: Service) -> None:
    service.register("Contact: <sip:1@192.0.2.1>", call_id="another", cseq=9)
    service.register("Contact: <sip:2@192.0.2.1>", cseq=5)
    assert service.register("Contact: *", "Expires: 0", cseq=5).status == 500
    assert service.contacts() == ["sip:1@192.0.2.1", "sip:2@192.0.2.1"]
    assert service.register("Contact: *", "Expires: 0", cseq=6).status == 200
    assert service.bindings() == ()


# Step 7: the interval --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "granted"),
    [
        (("Contact: <sip:1@h>;expires=120", "Expires: 240"), 120),
        (("Contact: <sip:1@h>", "Expires: 240"), 240),
        (("Contact: <sip:1@h>",), 600),
        (("Contact: <sip:1@h>;expires=60",), 60),
        (("Contact: <sip:1@h>;expires=1800",), 1800),
        (("Contact: <sip:1@h>;expires=7200",), 1800),
        (("Contact: <sip:1@h>;expires=" + "9" * 5000,), 1800),
        (("Contact: <sip:1@h>;expires=soon",), 1800),  # malformed: 3600, then the maximum
        (("Contact: <sip:1@h>;expires",), 1800),
        (("Contact: <sip:1@h>;expires=-1",), 1800),
        (("Contact: <sip:1@h>;expires=\u0662",), 1800),
        (("Contact: <sip:1@h>", "Expires: Thu, 01 Dec 1994 16:00:00 GMT"), 1800),
    ],
)
def test_the_interval_is_the_contacts_then_the_headers_then_the_default(
    lines: tuple[str, ...], granted: int
) -> None:
    service = Service(RegistrationBounds(maximum=1800))
    answer = service.register(*lines)
    assert lines_of(answer, "Contact") == [f"<sip:1@h>;expires={granted}"]
    assert service.bindings()[0].expires_at == EPOCH + granted


@pytest.mark.parametrize("line", ["Contact: <sip:1@h>;expires=59", "Contact: <sip:1@h>, <sip:2@h>;expires=1"])
def test_too_brief_an_interval_is_refused_with_the_least(service: Service, line: str) -> None:
    answer = service.register(line)
    assert (answer.status, answer.reason) == (423, "Interval Too Brief")
    assert answer.headers == (b"Min-Expires: 60",)
    assert service.bindings() == ()


def test_an_hour_is_never_too_brief() -> None:
    service = Service(RegistrationBounds(minimum=3600, default=3600))
    assert service.register("Contact: <sip:1@h>;expires=3600").status == 200
    assert service.register("Contact: <sip:1@h>;expires=3599").status == 423


@pytest.mark.parametrize(
    "bounds",
    [{"minimum": 3601, "default": 3601}, {"minimum": 0}, {"default": 59}, {"maximum": 599}, {"contacts": 0}],
)
def test_bounds_that_cannot_be_kept_are_refused(bounds: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"minimum|default|contacts"):
        RegistrationBounds(**bounds)


def test_a_binding_ends_with_its_interval(service: Service) -> None:
    service.register("Contact: <sip:1@h>;expires=60")
    service.clock.advance(59.9)
    assert lines_of(service.register(), "Contact") == ["<sip:1@h>;expires=1"]
    service.clock.advance(0.2)
    assert lines_of(service.register(), "Contact") == []


# Step 7: each contact --------------------------------------------------------------------------------------


def test_what_the_request_says_is_kept(service: Service) -> None:
    service.register(
        'Contact: "Alice" <sip:alice@192.0.2.1:5061;transport=tls>;q=0.25;expires=300',
        "User-Agent: Phone/1.0 \x01(tests)",
        cseq=7,
    )
    assert service.bindings() == (
        Binding(
            contact="sip:alice@192.0.2.1:5061;transport=tls",
            expires_at=EPOCH + 300,
            q=0.25,
            call_id="a@192.0.2.1",
            cseq=7,
            path=(EDGE,),
            user_agent="Phone/1.0 (tests)",
        ),
    )


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("sip:alice@192.0.2.1", "SIP:%61lice@192.0.2.1", True),
        ("sip:alice@Phone.Example", "sip:alice@phone.example;x=1", True),
        ("sip:alice@192.0.2.1", "sip:Alice@192.0.2.1", False),
        ("sip:alice@192.0.2.1", "sip:alice@192.0.2.1:5060", False),
        ("sip:alice@192.0.2.1", "sip:alice@192.0.2.1;transport=tls", False),
        ("tel:+49-89-1234", "tel:+49891234", True),
        ("mailto:alice@a.example", "mailto:bob@a.example", False),
    ],
)
def test_contacts_are_compared_as_uris(service: Service, first: str, second: str, same: bool) -> None:
    service.register(f"Contact: <{first}>")
    service.register(f"Contact: <{second}>")
    assert len(service.bindings()) == (1 if same else 2)


def test_a_contact_of_another_call_is_updated_whatever_its_cseq(service: Service) -> None:
    service.register("Contact: <sip:1@h>;q=0.1", cseq=9)
    assert service.register("Contact: <sip:1@h>;q=0.9", call_id="rebooted", cseq=1).status == 200
    (binding,) = service.bindings()
    assert (binding.q, binding.call_id, binding.cseq) == (0.9, "rebooted", 1)


@pytest.mark.parametrize("cseq", [4, 5])
@pytest.mark.parametrize("expires", [0, 600])
def test_a_request_that_is_not_newer_fails_as_a_whole(service: Service, cseq: int, expires: int) -> None:
    service.register("Contact: <sip:1@h>;q=0.1", cseq=5)
    answer = service.register(f"Contact: <sip:new@h>, <sip:1@h>;q=0.9;expires={expires}", cseq=cseq)
    assert answer.status == 500
    assert [(b.contact, b.q) for b in service.bindings()] == [("sip:1@h", 0.1)]


def test_a_newer_request_refreshes_and_leaves_other_contacts_alone(service: Service) -> None:
    service.register("Contact: <sip:1@h>, <sip:2@h>", cseq=5)
    service.clock.advance(10)
    service.register("Contact: <sip:1@h>", cseq=6)
    assert {b.contact: b.expires_at - EPOCH for b in service.bindings()} == {"sip:1@h": 610, "sip:2@h": 600}


def test_expires_0_removes_one_contact(service: Service) -> None:
    service.register("Contact: <sip:1@h>, <sip:2@h>")
    answer = service.register("Contact: <sip:1@h>;expires=0")
    assert lines_of(answer, "Contact") == ["<sip:2@h>;expires=600"]
    assert service.register("Contact: <sip:2@h>", "Expires: 0").status == 200
    assert service.bindings() == ()


def test_removing_a_contact_that_is_not_there_succeeds(service: Service) -> None:
    assert service.register("Contact: <sip:1@h>;expires=0").status == 200
    assert service.bindings() == ()


def test_a_request_may_remove_what_it_then_adds(service: Service) -> None:
    service.register("Contact: <sip:1@h>")
    assert service.register("Contact: <sip:1@h>;expires=0, <sip:1@h>;q=0.5").status == 200
    assert [b.q for b in service.bindings()] == [0.5]


@pytest.mark.parametrize(
    "line",
    [
        "Contact: <sip:1@h>;q=2",
        "Contact: <sip:1@h>;q=",
        "Contact: <sip:1@>",
        "Contact: alice",
        "Contact: <sip:1@h>;reg-id=x",
        "Contact: <sip:1@h>;reg-id=0",
        f"Contact: <sip:1@h>;reg-id=2147483648;{INSTANCE}",
        'Contact: <sip:1@h>;+sip.instance="a\x01b"',
        'Contact: <sip:1@h>;+sip.instance="a\x1b[2J"',
        "Call-ID:",
    ],
)
def test_a_malformed_request_changes_nothing(service: Service, line: str) -> None:
    lines = [line, "Contact: <sip:2@h>"]
    if line == "Call-ID:":
        raw = register("Contact: <sip:2@h>").raw.replace(b"Call-ID: a@192.0.2.1", b"Call-ID:")
        request = parse_message(raw)
        assert isinstance(request, Request)
        registrar = Registrar(service.store, service.bounds, service.clock.seconds)
        answer = result(registrar.register(request, ALICE, EDGE))
    else:
        answer = service.register(*lines)
    assert answer.status == 400
    assert answer.reason
    assert service.bindings() == ()


def test_more_contacts_than_allowed_are_refused_but_can_be_replaced() -> None:
    service = Service(RegistrationBounds(contacts=2))
    assert service.register("Contact: <sip:1@h>, <sip:2@h>").status == 200
    answer = service.register("Contact: <sip:3@h>")
    assert (answer.status, answer.reason) == (403, "Too many contacts: at most 2 for an address of record")
    replacing = "Contact: <sip:1@h>;expires=0, <sip:2@h>;expires=0, <sip:3@h>, <sip:4@h>"
    assert service.register(replacing).status == 200
    assert service.contacts() == ["sip:3@h", "sip:4@h"]


def test_a_request_with_absurdly_many_contacts_is_refused_unread() -> None:
    service = Service(RegistrationBounds(contacts=2))
    answer = service.register("Contact: " + ", ".join(f"<sip:{n}@h>;expires=0;q=bad" for n in range(5)))
    assert answer.status == 403


def test_a_limit_that_was_lowered_lets_what_is_there_be_refreshed() -> None:
    service = Service()
    service.register("Contact: <sip:1@h>, <sip:2@h>")
    service.bounds = evolve(service.bounds, contacts=1)
    assert service.register("Contact: <sip:1@h>").status == 200
    assert service.register("Contact: <sip:3@h>").status == 403


# Step 8: the response --------------------------------------------------------------------------------------


def test_the_response_lists_all_bindings_and_the_date(service: Service) -> None:
    service.register("Contact: <sip:1@h>;expires=600")
    service.clock.advance(60)
    answer = service.register("Contact: <sip:2@h>;q=0.125;expires=120", call_id="another")
    assert answer == Answer(
        200,
        "OK",
        (
            b"Contact: <sip:1@h>;expires=540",
            b"Contact: <sip:2@h>;expires=120;q=0.125",
            b"Date: Sun, 06 Nov 1994 08:50:37 GMT",
            b"Supported: path, outbound",
        ),
    )


def test_record_route_is_ignored(service: Service) -> None:
    answer = service.register("Record-Route: <sip:p.example;lr>", "Contact: <sip:1@h>")
    assert not [line for line in answer.headers if b"p.example" in line]
    assert service.bindings()[0].path == (EDGE,)


@implementer(ILocationStore)
class Broken:
    """A store that can't."""

    def bindings(self, aor: str) -> Bindings:
        raise OSError("disk on fire")

    def update(self, aor: str, change: object) -> Awaitable[Bindings]:
        raise OSError("disk on fire")


@pytest.mark.parametrize("lines", [(), ("Contact: <sip:1@h>",)])
def test_a_store_that_fails_is_a_500_that_says_nothing_of_why(lines: tuple[str, ...]) -> None:
    registrar = Registrar(Broken(), RegistrationBounds(), lambda: EPOCH)
    answer = result(registrar.register(register(*lines), ALICE, EDGE))
    assert answer == Answer(500, "Server Internal Error")


@implementer(ILocationStore)
@define
class Slow:
    """A store whose answers come later, and that notes what it was asked."""

    asked: list[str] = field(factory=list)
    later: Deferred[Bindings] = field(factory=Deferred)

    def bindings(self, aor: str) -> Awaitable[Bindings]:
        self.asked.append(aor)
        return self.later

    def update(self, aor: str, change: object) -> Awaitable[Bindings]:
        self.asked.append(aor)
        return self.later


@pytest.mark.parametrize("lines", [(), ("Contact: <sip:1@h>",)])
def test_the_store_is_asked_at_once_and_the_answer_waits_for_it(lines: tuple[str, ...]) -> None:
    store = Slow()
    verifyObject(ILocationStore, store)
    answer = Registrar(store, RegistrationBounds(), lambda: EPOCH).register(register(*lines), ALICE, EDGE)
    assert store.asked == [ALICE]
    assert isinstance(answer, Deferred)
    assert not answer.called
    store.later.callback(())
    assert result(answer).status == 200


# Path (RFC 3327) -------------------------------------------------------------------------------------------

SECOND_VIA = "Via: SIP/2.0/TLS 192.0.2.9;branch=z9hG4bK0"


def test_path_is_kept_in_the_order_of_the_request_and_echoed(service: Service) -> None:
    answer = service.register(SECOND_VIA, "Supported: path", PATH, "Contact: <sip:1@h>")
    assert service.bindings()[0].path == ("<sip:p3.a.example;lr>", "<sip:p1.visited.example;lr>")
    assert lines_of(answer, "Path") == ["<sip:p3.a.example;lr>", "<sip:p1.visited.example;lr>"]


def test_a_client_that_is_next_to_us_is_reached_over_its_flow(service: Service) -> None:
    answer = service.register("Contact: <sip:1@h>")
    assert service.bindings()[0].path == (EDGE,)
    assert lines_of(answer, "Path") == []


def test_a_path_from_the_client_itself_comes_behind_its_flow(service: Service) -> None:
    service.register("Supported: path", PATH, "Contact: <sip:1@h>")
    assert service.bindings()[0].path == (EDGE, "<sip:p3.a.example;lr>", "<sip:p1.visited.example;lr>")


def test_through_proxies_that_left_no_path_the_flow_is_the_way(service: Service) -> None:
    service.register(SECOND_VIA, "Contact: <sip:1@h>")
    assert service.bindings()[0].path == (EDGE,)


@pytest.mark.parametrize("supported", ["Supported: outbound", "Subject: none"])
def test_a_path_that_the_client_does_not_know_of_is_refused(service: Service, supported: str) -> None:
    answer = service.register(SECOND_VIA, supported, PATH, "Contact: <sip:1@h>")
    assert (answer.status, lines_of(answer, "Unsupported")) == (420, ["path"])
    assert service.bindings() == ()


@pytest.mark.parametrize(
    "path",
    ["<sip:p1.example>", "sip:p1.example;lr", "<tel:+1;lr>", "<sip:p1 .example;lr>", '<sip:p;lr>;x="\x1b"'],
)
def test_a_path_that_is_no_loose_route_is_malformed(service: Service, path: str) -> None:
    answer = service.register(SECOND_VIA, "Supported: path", f"Path: {path}", "Contact: <sip:1@h>")
    assert answer.status == 400


def test_a_refresh_brings_its_own_path(service: Service) -> None:
    service.register("Contact: <sip:1@h>")
    service.register(SECOND_VIA, "Supported: path", PATH, "Contact: <sip:1@h>")
    assert service.bindings()[0].path == ("<sip:p3.a.example;lr>", "<sip:p1.visited.example;lr>")


# Instances and flows (RFC 5626) ----------------------------------------------------------------------------

OUTBOUND = "Supported: path, outbound"


def test_the_same_instance_and_reg_id_replace_the_binding_whatever_the_contact(service: Service) -> None:
    service.register(OUTBOUND, f"Contact: <sip:old@h>;reg-id=1;{INSTANCE}")
    answer = service.register(
        OUTBOUND, f"Contact: <sip:new@h>;reg-id=1;{INSTANCE.lower()}", call_id="another"
    )
    (binding,) = service.bindings()
    assert (binding.contact, binding.reg_id) == ("sip:new@h", 1)
    assert binding.instance == INSTANCE.lower().partition("=")[2]
    assert lines_of(answer, "Contact") == [f"<sip:new@h>;expires=600;{INSTANCE.lower()};reg-id=1"]
    assert lines_of(answer, "Require") == ["outbound"]


def test_one_contact_on_two_flows_makes_two_bindings(service: Service) -> None:
    service.register(OUTBOUND, f"Contact: <sip:1@h>;reg-id=1;{INSTANCE}", call_id="first")
    service.register(OUTBOUND, f"Contact: <sip:1@h>;reg-id=2;{INSTANCE}", call_id="second")
    service.register("Contact: <sip:1@h>", call_id="plain")
    assert sorted(b.reg_id or 0 for b in service.bindings()) == [0, 1, 2]
    service.register(OUTBOUND, f"Contact: <sip:1@h>;reg-id=2;{INSTANCE};expires=0", call_id="second")
    assert sorted(b.reg_id or 0 for b in service.bindings()) == [0, 1]


def test_other_instances_are_other_bindings(service: Service) -> None:
    service.register(OUTBOUND, 'Contact: <sip:1@h>;reg-id=1;+sip.instance="<urn:x-serial:a>"')
    service.register(OUTBOUND, 'Contact: <sip:1@h>;reg-id=1;+sip.instance="<urn:x-serial:A>"')
    assert len(service.bindings()) == 2


def test_an_old_request_does_not_replace_a_newer_flow(service: Service) -> None:
    service.register(OUTBOUND, f"Contact: <sip:new@h>;reg-id=1;{INSTANCE}", cseq=5)
    assert service.register(OUTBOUND, f"Contact: <sip:old@h>;reg-id=1;{INSTANCE}", cseq=4).status == 500
    assert service.contacts() == ["sip:new@h"]


def test_a_reg_id_without_an_instance_is_ignored(service: Service) -> None:
    answer = service.register(OUTBOUND, "Contact: <sip:1@h>;reg-id=1")
    assert service.bindings()[0].reg_id is None
    assert lines_of(answer, "Require") == []


def test_an_instance_without_reg_id_is_kept_and_known_by_its_contact(service: Service) -> None:
    service.register(f"Contact: <sip:1@h>;{INSTANCE}")
    service.register(f"Contact: <sip:2@h>;{INSTANCE}")
    assert [b.instance for b in service.bindings()] == [INSTANCE.partition("=")[2]] * 2


def test_outbound_is_not_announced_to_who_does_not_support_it(service: Service) -> None:
    answer = service.register(f"Contact: <sip:1@h>;reg-id=1;{INSTANCE}")
    assert (service.bindings()[0].reg_id, lines_of(answer, "Require")) == (1, [])


def test_a_reg_id_counts_only_if_the_first_hop_kept_the_flow(service: Service) -> None:
    contact = f"Contact: <sip:1@h>;reg-id=1;{INSTANCE}"
    answer = service.register(SECOND_VIA, OUTBOUND, "Path: <sip:t@p1.example;lr>", contact)
    assert (answer.status, answer.reason) == (439, "First Hop Lacks Outbound Support")
    assert service.register(SECOND_VIA, OUTBOUND, contact).status == 439
    assert service.register(SECOND_VIA, "Supported: path", PATH, contact).status == 200
    assert service.bindings()[0].reg_id is None


def test_the_value_nearest_to_the_client_says_that_the_flow_is_kept(service: Service) -> None:
    contact = f"Contact: <sip:1@h>;reg-id=1;{INSTANCE}"
    wrong = "Path: <sip:p3.example;lr;ob>, <sip:t@p1.example;lr>"
    assert service.register(SECOND_VIA, OUTBOUND, wrong, contact).status == 439
    right = "Path: <sip:p3.example;lr>, <sip:t@p1.example;lr;ob>"
    assert service.register(SECOND_VIA, OUTBOUND, right, contact).status == 200
    assert service.bindings()[0].reg_id == 1


def test_a_request_registers_one_flow_and_may_remove_others(service: Service) -> None:
    flow = f"Contact: <sip:1@h>;reg-id=1;{INSTANCE}"
    assert service.register(OUTBOUND, flow, "Contact: <sip:2@h>").status == 400
    assert service.bindings() == ()
    assert service.register(OUTBOUND, flow, "Contact: <sip:2@h>;expires=0").status == 200


# The pure part, in general ---------------------------------------------------------------------------------

contact_changes = st.builds(
    ContactChange,
    uri=st.sampled_from([parse_uri(f"sip:{n}@h{p}") for n in "12" for p in ("", ";x=1", ";x=2")]),
    expires=st.sampled_from([0, 60]),
    instance=st.sampled_from(['"<urn:uuid:A>"', '"<urn:uuid:b>"']),
    reg_id=st.sampled_from([None, None, 1, 2]),
)
changes = st.one_of(
    st.builds(RemoveAll, st.sampled_from("ab"), st.integers(1, 5)),
    st.builds(
        Registration,
        st.sampled_from("ab"),
        st.integers(1, 5),
        st.lists(contact_changes, min_size=1, max_size=4).map(tuple),
    ),
)


@given(st.lists(changes, max_size=8))
def test_no_contact_is_ever_bound_twice_and_no_binding_goes_back_in_time(
    requests: list[Registration | RemoveAll],
) -> None:
    current: Bindings = ()
    for number, change in enumerate(requests):
        try:
            after = apply_register(current, change, float(number), 3)
        except (OutOfOrder, TooManyContacts):
            continue
        assert len(after) <= 3
        for binding in after:
            probe = ContactChange(
                parse_uri(binding.contact), 1, instance=binding.instance, reg_id=binding.reg_id
            )
            assert [b for b in after if probe.matches(b)] == [binding]
            older = [b for b in current if probe.matches(b) and b.call_id == binding.call_id]
            assert all(b == binding or b.cseq < binding.cseq for b in older)
        current = after


def test_the_pure_part_leaves_what_it_was_given() -> None:
    current = (Binding("sip:1@h", 100.0, 1.0, "a", 1),)
    change = Registration(
        "a", 1, (ContactChange(parse_uri("sip:2@h"), 60), ContactChange(parse_uri("sip:1@h"), 0))
    )
    with pytest.raises(OutOfOrder):
        apply_register(current, change, 0.0, 10)
    assert apply_register(current, RemoveAll("b", 1), 0.0, 10) == ()
    assert current == (Binding("sip:1@h", 100.0, 1.0, "a", 1),)
