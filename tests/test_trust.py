"""From a certificate to a peer: identities (RFC 5922 §7.1), anchors, and the judge."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import field, frozen
from certificate_maker import Authority, authority, named, tampered, uri
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import (
    Certificate,
    DNSName,
    IssuerAlternativeName,
    RFC822Name,
    SubjectAlternativeName,
)
from hypothesis import given
from hypothesis import strategies as st

from sipmesh.decisions import (
    ENTERPRISE,
    Client,
    Direction,
    FederatedPartner,
    Presented,
    Reach,
    Refuse,
    TrustAnchors,
    TrustedServer,
)
from sipmesh.trust.anchors import AnchorSets, describe, load_certificates
from sipmesh.trust.identities import MOST, identities, normalize
from sipmesh.trust.judge import Judge

ROOT = authority("root")
OTHER = authority("other root")


# Identities -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a.example"], ("a.example",)),
        ([uri("sip:a.example")], ("a.example",)),
        ([uri("SIP:A.Example")], ("a.example",)),
        (["z.example", "a.example", "z.example"], ("z.example", "a.example")),
        (["A.EXAMPLE", "a.example"], ("a.example",)),
        ([uri("sip:a.example"), "b.example"], ("a.example",)),
        (["b.example", uri("sip:a.example")], ("a.example",)),
        ([uri("sip:alice@a.example"), "b.example"], ("b.example",)),
        ([uri("sip:alice@a.example")], ()),
        ([uri("sips:a.example"), "b.example"], ("b.example",)),
        ([uri("https://a.example"), "b.example"], ("b.example",)),
        ([uri("sip:a.example:5061")], ("a.example",)),
        ([uri("sip:a.example;transport=tls")], ("a.example",)),
        ([uri("sip:a.example?x=y")], ("a.example",)),
        ([uri("sip:*.a.example"), "b.example"], ()),
        ([uri("sip:"), "b.example"], ()),
        ([uri("sip:a.example/b")], ()),
        ([uri("sip:%61.example")], ()),
        ([uri("sip:[2001:db8::1]")], ()),
        ([uri("sip:192.0.2.1"), "192.0.2.1"], ()),
        (["*.a.example", "b.example"], ("b.example",)),
        (["*"], ()),
        (["a.example."], ()),
        ([uri("sip:a.example.")], ()),
        ([".a.example", "a..example", "-a.example", "a b", "a_b.example"], ("a_b.example",)),
        (["xn--bcher-kva.example"], ("xn--bcher-kva.example",)),
        ([RFC822Name("alice@a.example")], ()),
        ([], ()),
    ],
)
def test_identities(names: list[Any], expected: tuple[str, ...]) -> None:
    assert identities(ROOT.leaf(*names)) == expected


def test_a_common_name_is_no_identity() -> None:
    assert identities(named("a.example")) == ()
    assert identities(named("a.example", IssuerAlternativeName([DNSName("b.example")]))) == ()


def test_a_name_with_a_nul_is_no_identity() -> None:
    proper = ROOT.leaf("a.example!b.example")
    assert identities(tampered(proper, b"a.example!b", b"a.example\0b")) == ()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"\x82\x09a.example", b"\x82\x09a.ex\xffmple"),  # no IA5String
        (b"\x82\x09a.example", b"\x83\x09a.example"),  # an x400Address, which nobody can read
        (b"\x82\x09a.example", b"\x82\x7fa.example"),  # longer than the extension is
        (b"\x82\x09a.example", b"\x9f\x09a.example"),
        (b"\x06\x03\x55\x1d\x12", b"\x06\x03\x55\x1d\x11"),  # two subjectAltNames
    ],
)
def test_an_extension_that_makes_no_sense_proves_nothing(before: bytes, after: bytes) -> None:
    alternatives = (
        SubjectAlternativeName([DNSName("a.example")]),
        IssuerAlternativeName([DNSName("b.example")]),
    )
    assert identities(tampered(named("x", *alternatives), before, after)) == ()


def test_no_more_names_are_read_than_are_bounded() -> None:
    assert len(identities(ROOT.leaf(*(f"n{i}.example" for i in range(3 * MOST))))) == MOST
    assert len(identities(ROOT.leaf(*(uri(f"sip:n{i}.example") for i in range(3 * MOST))))) == MOST


@given(st.binary(min_size=9, max_size=9))
def test_whatever_stands_in_a_name_identities_are_host_names(name: bytes) -> None:
    for found in identities(tampered(DNS_LEAF, b"a.example", name)):
        assert normalize(found) == found
        assert found.encode() == name.lower()


@given(st.text() | st.text("aB0.-_ü"))
def test_a_normal_form_is_its_own(text: str) -> None:
    try:
        name = normalize(text)
    except ValueError:
        return
    assert normalize(name) == normalize(name + ".") == normalize(name.upper()) == name
    assert not set(name) & set("* \0/@:")


@pytest.mark.parametrize(
    ("text", "expected"), [("Bücher.Example.", "xn--bcher-kva.example"), ("A.EXAMPLE", "a.example")]
)
def test_names_are_compared_in_a_labels_and_lower_case(text: str, expected: str) -> None:
    assert normalize(text) == expected


@pytest.mark.parametrize(
    "text", ["", ".", "a..b", "*.a", "a" * 64, "a." * 127 + "a", "a\0b", "a\n", "ß" * 64]
)
def test_what_is_no_host_name(text: str) -> None:
    with pytest.raises(ValueError, match=r"(?i)not a host name|label|codepoint"):
        normalize(text)


DNS_LEAF = ROOT.leaf("a.example")


# Anchors ----------------------------------------------------------------------------------------------------


def anchors(**sets: Authority | tuple[Authority, ...]) -> AnchorSets:
    def certificates(of: Authority | tuple[Authority, ...]) -> tuple[Certificate, ...]:
        return tuple(one.certificate for one in (of if isinstance(of, tuple) else (of,)))

    return AnchorSets(TrustAnchors(name, certificates(of), f"{name}.pem") for name, of in sets.items())


def test_a_chain_verifies_within_its_set_and_no_other() -> None:
    sets = anchors(enterprise=ROOT, partner=OTHER)
    chain = (ROOT.leaf("a.example"),)
    assert sets.verify("enterprise", chain) is None
    trouble = sets.verify("partner", chain)
    assert trouble is not None
    assert "partner.pem" in trouble
    assert "issued by 'CN=root'" in trouble
    assert sets.verify("nobody", chain) == "no trust anchors are configured as nobody"
    assert sets.verify("enterprise", ()) == "no certificate was shown"


def test_a_ca_of_the_same_name_is_another_ca() -> None:
    impostor = Authority("root", ROOT.certificate, key="impostor")
    assert anchors(x=ROOT).verify("x", (impostor.leaf("a.example"),)) is not None
    assert anchors(x=OTHER).verify("x", (DNS_LEAF, ROOT.certificate)) is not None


def test_intermediates_are_needed_and_come_in_any_order() -> None:
    first = ROOT.ca("first")
    second = first.ca("second")
    leaf = second.leaf("a.example")
    sets = anchors(x=ROOT)
    assert sets.verify("x", (leaf, second.certificate, first.certificate)) is None
    assert sets.verify("x", (leaf, first.certificate, OTHER.certificate, second.certificate)) is None
    assert sets.verify("x", (leaf, second.certificate)) is not None
    assert sets.verify("x", (leaf,)) is not None


def test_one_of_several_anchors_will_do() -> None:
    sets = anchors(x=(OTHER, ROOT, ROOT))
    assert sets.verify("x", (DNS_LEAF,)) is None
    assert sets.verify("x", (OTHER.leaf("a.example"),)) is None


def test_who_has_a_leaf_is_no_ca() -> None:
    leaf = Authority("leaf", ROOT.leaf("a.example"))
    assert anchors(x=ROOT).verify("x", (leaf.leaf("b.example"), leaf.certificate)) is not None


@pytest.mark.parametrize("days", [(-2.0, -1.0), (1.0, 2.0)])
def test_expired_and_not_yet_valid(days: tuple[float, float]) -> None:
    sets = anchors(x=ROOT, old=authority("old", days=days))
    assert sets.verify("x", (ROOT.leaf("a.example", days=days),)) is not None
    assert sets.verify("old", (Authority("old", ROOT.certificate).leaf("a.example"),)) is not None


def test_sets_that_can_not_be_told_apart_or_hold_nothing() -> None:
    one = TrustAnchors("x", (ROOT.certificate,), "one.pem")
    with pytest.raises(ValueError, match=r"called x: one\.pem, two\.pem"):
        AnchorSets([one, TrustAnchors("x", (OTHER.certificate,), "two.pem")])
    with pytest.raises(ValueError, match=r"empty\.pem.*holds no certificate"):
        AnchorSets([TrustAnchors("y", (), "empty.pem")])
    assert AnchorSets([]).all() == ()
    assert anchors(x=ROOT, y=OTHER).all() == (ROOT.certificate, OTHER.certificate)


def test_certificates_are_loaded_from_pem(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_bytes(
        ROOT.certificate.public_bytes(Encoding.PEM) + OTHER.certificate.public_bytes(Encoding.PEM)
    )
    assert load_certificates(file) == (ROOT.certificate, OTHER.certificate)
    for content in (b"", b"nonsense", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=r"ca\.pem"):
            load_certificates(file)
    with pytest.raises(OSError, match="none"):
        load_certificates(tmp_path / "none")


def test_a_certificate_with_an_unreadable_subject_is_described_too() -> None:
    broken = tampered(named("zzzzzz"), b"zzzzzz", b"zz\xff\xffzz")
    assert "malformed name" in describe(broken)
    assert "CN=root" in describe(ROOT.certificate)


# The judge --------------------------------------------------------------------------------------------------


@frozen
class Policy:
    """A server list or federation policy that answers the same whatever it is asked, and counts how often."""

    answer: Any = None
    asked: list[Any] = field(factory=list)

    def _say(self, about: object) -> Any:
        self.asked.append(about)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer(about) if callable(self.answer) else self.answer

    recognise = admit = reach = _say


def judge(lists: list[Policy], federation: list[Policy]) -> Judge:
    made: Callable[..., Judge] = Judge
    return made(lists, federation, anchors(enterprise=ROOT, partner=OTHER))


def presented(*names: Any, by: Authority = ROOT, meant: str | None = None) -> Presented:
    leaf = by.leaf(*names)
    direction = Direction.INBOUND if meant is None else Direction.OUTBOUND
    return Presented(identities(leaf), (leaf,), "192.0.2.1", direction, meant)


OURS = TrustedServer("fe1.a.example", "listed")
PARTNER = FederatedPartner("b.example", "b.example", "admitted", "partner")
BOTH = ("fe1.a.example", "b.example")


def code(verdict: object) -> str:
    assert isinstance(verdict, Refuse)
    assert verdict.because
    return verdict.code


def test_chain_and_name_and_list() -> None:
    assert judge([Policy(OURS)], []).decide(presented("fe1.a.example")) == OURS
    assert judge([Policy(None)], [Policy(PARTNER)]).decide(presented("b.example", by=OTHER)) == PARTNER


def test_who_is_on_no_list_is_refused() -> None:
    assert code(judge([], []).decide(presented("fe1.a.example"))) == "not-listed"
    assert code(judge([Policy()], [Policy()]).decide(presented("fe1.a.example"))) == "not-listed"


def test_lists_are_asked_in_order_and_before_federation() -> None:
    first, second, third, partners = Policy(), Policy(OURS), Policy(OURS), Policy(PARTNER)
    shown = presented("fe1.a.example")
    assert judge([first, second, third], [partners]).decide(shown) == OURS
    assert (first.asked, second.asked, third.asked, partners.asked) == ([shown], [shown], [], [])


def test_the_first_federation_policy_with_an_opinion_decides() -> None:
    shown = presented("b.example", by=OTHER)
    blocked = judge([], [Policy(), Policy(Refuse("blocked", "blocked")), Policy(PARTNER)])
    assert code(blocked.decide(shown)) == "blocked"
    assert judge([], [Policy(PARTNER), Policy(Refuse("blocked"))]).decide(shown) == PARTNER


def test_a_partners_ca_can_not_make_a_server_of_ours_nor_ours_a_partner() -> None:
    assert code(judge([Policy(OURS)], []).decide(presented("fe1.a.example", by=OTHER))) == "wrong-anchors"
    assert code(judge([], [Policy(PARTNER)]).decide(presented("b.example", by=ROOT))) == "wrong-anchors"
    nowhere = TrustedServer("fe1.a.example", "listed", "no such set")
    assert code(judge([Policy(nowhere)], []).decide(presented("fe1.a.example"))) == "wrong-anchors"


@pytest.mark.parametrize("meant", ["fe2.a.example", "a.example", "FE1.a.example", "", "1.a.example"])
def test_outbound_the_name_meant_must_be_proven(meant: str) -> None:
    policy = Policy(OURS)
    assert code(judge([policy], []).decide(presented("fe1.a.example", meant=meant))) == "wrong-name"
    assert policy.asked == []
    assert judge([policy], []).decide(presented(*BOTH, meant="fe1.a.example")) == OURS


@pytest.mark.parametrize("direction", list(Direction))
def test_a_certificate_without_identity_is_refused_without_asking(direction: Direction) -> None:
    policy = Policy(OURS)
    for chain in ((named("fe1.a.example"),), ()):
        shown = Presented((), chain, "192.0.2.1", direction, None)
        assert code(judge([policy], [policy]).decide(shown)) == "no-identity"
    assert policy.asked == []


def test_a_policy_can_not_give_a_peer_a_name_that_it_did_not_prove() -> None:
    assert code(judge([Policy(OURS)], []).decide(presented("fe2.a.example"))) == "wrong-name"
    assert code(judge([], [Policy(PARTNER)]).decide(presented("c.example", by=OTHER))) == "wrong-name"


NONSENSE = [True, "fe1.a.example", Client("x"), Reach, object()]


@pytest.mark.parametrize("nonsense", [ZeroDivisionError("x"), *NONSENSE])
def test_a_policy_that_raises_or_answers_nonsense_has_refused(nonsense: object) -> None:
    bad = Policy((lambda about: nonsense) if callable(nonsense) else nonsense)
    for court in (judge([bad], [Policy(PARTNER)]), judge([bad, Policy(OURS)], [])):
        assert code(court.decide(presented(*BOTH))) == "policy-failed"
        assert code(court.reach("b.example")) == "policy-failed"
    court = judge([Policy()], [bad, Policy(PARTNER)])
    assert code(court.decide(presented(*BOTH, by=OTHER))) == "policy-failed"
    assert code(court.reach("b.example")) == "policy-failed"


def test_a_server_list_admits_no_partner_and_a_federation_policy_no_server() -> None:
    assert code(judge([Policy(PARTNER)], []).decide(presented(*BOTH))) == "policy-failed"
    assert code(judge([], [Policy(OURS)]).decide(presented(*BOTH))) == "policy-failed"


def test_reach_asks_lists_first_and_nobody_is_reached_by_default() -> None:
    ours, theirs = Reach("x", "listed", ENTERPRISE), Reach("x", "partner", "partner", partner="x")
    assert judge([Policy()], [Policy()]).reach("x") is None
    assert judge([Policy(ours)], [Policy(theirs)]).reach("x") is ours
    assert judge([Policy()], [Policy(theirs), Policy(Refuse("no"))]).reach("x") is theirs
    assert code(judge([Policy()], [Policy(Refuse("no")), Policy(theirs)]).reach("x")) == "refused"


def test_a_client_proves_no_name() -> None:
    assert judge([], []).client("192.0.2.1").name == ""
