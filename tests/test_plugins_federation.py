"""Which partners may come, and how far."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from zope.interface.verify import verifyObject

from sipmesh.decisions import Direction, FederatedPartner, Presented, Refuse, RequestContext
from sipmesh.interfaces import IFederationPolicy
from sipmesh.sip import Request, parse_message, parse_sip_uri
from sipmesh_plugins.federation_allow import AllowList
from sipmesh_plugins.federation_block import BlockList
from sipmesh_plugins.partner import Partner

Authorities = dict[str, x509.Certificate]

NEXT_HOP = parse_sip_uri("sip:edge.c.example:5071;transport=tls")


def make_ca(name: str) -> x509.Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )


@pytest.fixture
def authorities(tmp_path: Path) -> Authorities:
    """The CAs of b.example and c.example, each in a file of its own."""
    found = {}
    for domain in ("b.example", "c.example"):
        found[domain] = make_ca(f"CA of {domain}")
        (tmp_path / domain).write_bytes(found[domain].public_bytes(serialization.Encoding.PEM))
    return found


@pytest.fixture
def allow(tmp_path: Path, authorities: Authorities) -> AllowList:
    """b.example, which DNS finds, and c.example, which has a fixed next hop."""
    b = Partner("B.example.", tmp_path / "b.example")
    c = Partner("c.example", tmp_path / "c.example", NEXT_HOP)
    return AllowList((b, c))


def inbound(*identities: str, address: str = "192.0.2.1") -> Presented:
    return Presented(identities, (), address, Direction.INBOUND)


def outbound(meant: str, *identities: str) -> Presented:
    return Presented(identities, (), "192.0.2.1", Direction.OUTBOUND, meant)


def partner(domain: str = "b.example") -> FederatedPartner:
    return FederatedPartner(domain, domain, "a test says so", f"partner:{domain}")


def request(uri: str = "sip:alice@a.example", sender: str = "sip:bob@b.example", to_tag: str = "") -> Request:
    lines = f"INVITE {uri} SIP/2.0", f"From: <{sender}>;tag=1", f"To: <sip:alice@a.example>{to_tag}", "", ""
    message = parse_message("\r\n".join(lines).encode())
    assert isinstance(message, Request)
    return message


CONTEXT = RequestContext(partner(), None, frozenset({"a.example"}), None, lambda name: None)


def code(opinion: object) -> str | None:
    """The code of a refusal; None where there is no opinion."""
    assert opinion is None or isinstance(opinion, Refuse)
    return None if opinion is None else opinion.code


def judged(policy: IFederationPolicy, by: FederatedPartner | None = None, **parts: str) -> str | None:
    """What a policy says of a request from b.example, or from another partner."""
    return code(policy.judge(request(**parts), by or partner(), CONTEXT))


# The allow list ---------------------------------------------------------------------------------------------


def test_both_are_federation_policies(allow: AllowList) -> None:
    assert verifyObject(IFederationPolicy, allow)
    assert verifyObject(IFederationPolicy, BlockList())


def test_each_partner_brings_its_own_ca(allow: AllowList, authorities: Authorities, tmp_path: Path) -> None:
    sets = {one.name: one for one in allow.anchors()}
    assert sorted(sets) == ["partner:b.example", "partner:c.example"]
    assert sets["partner:b.example"].certificates == (authorities["b.example"],)
    assert sets["partner:c.example"].certificates == (authorities["c.example"],)
    assert sets["partner:c.example"].origin == str(tmp_path / "c.example")


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_a_ca_file_without_certificates_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "b.pem").write_bytes(content)
    with pytest.raises(ValueError, match=r"b\.pem.*b\.example"):
        AllowList((Partner("b.example", tmp_path / "b.pem"),)).anchors()


def test_a_missing_ca_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        AllowList((Partner("b.example", tmp_path / "b.pem"),)).anchors()


def test_a_partner_may_come_by_its_domain(allow: AllowList) -> None:
    admitted = allow.admit(inbound("www.b.example", "b.example"))
    assert admitted is not None
    assert (admitted.name, admitted.domain) == ("b.example", "b.example")
    assert admitted.anchors == "partner:b.example"


def test_a_partner_may_come_by_the_host_of_its_next_hop(allow: AllowList) -> None:
    admitted = allow.admit(inbound("edge.c.example"))
    assert admitted is not None
    assert (admitted.name, admitted.domain) == ("edge.c.example", "c.example")
    assert admitted.anchors == "partner:c.example"


@pytest.mark.parametrize("name", ["x.example", "www.b.example", "edge.b.example", "b.example.evil.example"])
def test_nobody_else_may_come_or_be_reached(allow: AllowList, name: str) -> None:
    assert allow.admit(inbound(name)) is None
    assert allow.reach(name) is None


def test_a_certificate_of_two_partners_is_held_to_the_ca_of_the_one_it_counts_as(allow: AllowList) -> None:
    admitted = allow.admit(inbound("c.example", "b.example"))
    assert admitted is not None
    assert (admitted.domain, admitted.anchors) == ("c.example", "partner:c.example")


def test_outbound_the_partner_has_to_be_the_one_that_was_meant(allow: AllowList) -> None:
    assert allow.admit(outbound("b.example", "c.example")) is None
    assert allow.admit(outbound("edge.c.example", "c.example")) is None
    admitted = allow.admit(outbound("edge.c.example", "b.example", "edge.c.example"))
    assert admitted is not None
    assert admitted.domain == "c.example"


def test_a_partner_is_reached_through_dns_or_its_next_hop(allow: AllowList) -> None:
    b, c = allow.reach("b.example"), allow.reach("c.example")
    assert b is not None
    assert c is not None
    assert (b.name, b.anchors, b.next_hop, b.partner) == ("b.example", "partner:b.example", None, "b.example")
    assert (c.name, c.anchors, c.next_hop, c.partner) == (
        "c.example",
        "partner:c.example",
        NEXT_HOP,
        "c.example",
    )


def test_the_next_hop_itself_can_be_reached(allow: AllowList) -> None:
    reach = allow.reach("edge.c.example")
    assert reach is not None
    assert (reach.name, reach.anchors, reach.partner) == ("edge.c.example", "partner:c.example", "c.example")
    assert reach.next_hop == NEXT_HOP


def test_a_name_can_prove_one_partner_only(tmp_path: Path) -> None:
    hosted = [
        Partner(d, tmp_path / d, parse_sip_uri("sip:edge.host.example")) for d in ("b.example", "c.example")
    ]
    with pytest.raises(
        ValueError, match=r"edge\.host\.example would prove two partners: b\.example, c\.example"
    ):
        AllowList(tuple(hosted))
    with pytest.raises(ValueError, match=r"b\.example would prove two partners"):
        AllowList((Partner("b.example", tmp_path / "1"), Partner("B.example", tmp_path / "2")))


def test_a_next_hop_needs_a_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="IP address"):
        Partner("b.example", tmp_path / "b", parse_sip_uri("sip:192.0.2.1"))
    with pytest.raises(ValueError, match="no host name"):
        Partner("b.example", tmp_path / "b", parse_sip_uri("sip:[2001:db8::1]"))


def test_a_partner_may_call_our_users(allow: AllowList) -> None:
    assert judged(allow) is None
    assert judged(allow, uri="sips:alice@A.example.:5061", sender="sip:bob@B.example.") is None
    assert judged(allow, sender="sip:anonymous@anonymous.invalid") is None


@pytest.mark.parametrize(
    "sender",
    [
        "sip:boss@a.example",
        "sip:x@c.example",
        "sip:x@sub.b.example",
        "sip:x@b.example.evil.example",
        "tel:+4930",
    ],
)
def test_a_partner_speaks_for_its_own_domain_only(allow: AllowList, sender: str) -> None:
    assert judged(allow, sender=sender) == "not-their-domain"
    assert judged(allow, sender=sender, to_tag=";tag=made-up") == "not-their-domain"


@pytest.mark.parametrize(
    "uri", ["sip:x@c.example", "sip:x@b.example", "sip:x@sub.a.example", "tel:+4930", "urn:x:y"]
)
def test_a_partner_is_not_relayed(allow: AllowList, uri: str) -> None:
    assert judged(allow, uri=uri) == "no-relay"


def test_inside_a_dialog_the_request_uri_is_a_contact(allow: AllowList) -> None:
    assert judged(allow, uri="sip:alice@192.0.2.7:5061", to_tag=";tag=2") is None


def test_another_policys_partner_is_not_judged(allow: AllowList) -> None:
    assert judged(allow, by=partner("d.example"), sender="sip:x@c.example", uri="sip:x@c.example") is None


def test_a_refusal_tells_no_password(allow: AllowList) -> None:
    for bad in (request(sender="sip:bob:hunter2@c.example"), request(uri="sip:bob:hunter2@c.example")):
        verdict = allow.judge(bad, partner(), CONTEXT)
        assert verdict is not None
        assert "c.example" in verdict.because
        assert "hunter2" not in verdict.because


# The block list ---------------------------------------------------------------------------------------------

BLOCK = BlockList(("Spam.example.",), ("198.51.100.0/24", "203.0.113.7", "2001:db8:bad::/48"))


def test_a_block_list_vouches_for_nobody() -> None:
    assert list(BLOCK.anchors()) == []


@pytest.mark.parametrize("name", ["spam.example", "www.spam.example", "a.b.spam.example"])
def test_a_blocked_domain_is_refused_with_its_subdomains(name: str) -> None:
    assert code(BLOCK.admit(inbound("b.example", name))) == "blocked"
    assert code(BLOCK.reach(name)) == "blocked"
    assert judged(BLOCK, sender=f"sip:x@{name}") == "blocked"
    assert judged(BLOCK, by=partner(name), sender="sip:anonymous@anonymous.invalid") == "blocked"


@pytest.mark.parametrize("name", ["b.example", "notspam.example", "example", "spam.example.b.example"])
def test_about_other_domains_there_is_no_opinion(name: str) -> None:
    assert BLOCK.admit(inbound(name)) is None
    assert BLOCK.reach(name) is None
    assert judged(BLOCK, by=partner(name), sender=f"sip:x@{name}") is None


def test_a_from_without_a_domain_is_not_blocked() -> None:
    assert judged(BLOCK, sender="tel:+4930") is None


@pytest.mark.parametrize("address", ["198.51.100.9", "203.0.113.7", "::ffff:198.51.100.9", "2001:db8:bad::1"])
def test_a_blocked_address_is_refused_whatever_its_names(address: str) -> None:
    assert code(BLOCK.admit(inbound("b.example", address=address))) == "blocked"


@pytest.mark.parametrize(
    "address", ["198.51.101.9", "203.0.113.8", "::ffff:192.0.2.1", "2001:db8:bed::1", "fe80::1%1"]
)
def test_about_other_addresses_there_is_no_opinion(address: str) -> None:
    assert BLOCK.admit(inbound("b.example", address=address)) is None


@pytest.mark.parametrize(
    "keys", [{"domains": ("*.spam.example",)}, {"addresses": ("spam",)}, {"addresses": ("198.51.100.1/24",)}]
)
def test_a_block_list_with_something_else_is_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"no host name|does not appear to be|host bits set"):
        BlockList(**keys)
