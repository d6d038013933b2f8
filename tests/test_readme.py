"""What the README shows works as it stands there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from sipmesh.decisions import Client, FederatedPartner, Peer, Reject, RequestContext, TrustedServer
from sipmesh.interfaces import IRoutingPolicy
from sipmesh.server.configuration import PolicySection
from sipmesh.server.policies import load_policy
from sipmesh.sip import parse_message

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()

COLLEAGUE = TrustedServer("fe2.a.example", "a test says so")
PHONE = Client("a test says so")
PARTNER = FederatedPartner("b.example", "b.example", "a test says so", "partner:b.example")


def block(language: str) -> str:
    """The one block of code in this language."""
    [found] = re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    return str(found)


@pytest.fixture
def policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> IRoutingPolicy:
    """The policy, found beside the configuration and built from the section shown, as a server does it."""
    monkeypatch.syspath_prepend(str(tmp_path))
    [name] = re.findall(r"`(\w+\.py)`:$", README, re.MULTILINE)
    (tmp_path / name).write_text(block("python"))
    keys = tomllib.loads(block("toml"))["routing"][0]
    section = PolicySection(keys.pop("policy"), "routing[0]", keys)
    built = load_policy(section, IRoutingPolicy, tmp_path / "sipmesh.toml", ())
    assert IRoutingPolicy.providedBy(built)
    return built


def ask(policy: IRoutingPolicy, peer: Peer, uri: str) -> object:
    request = parse_message(f"INVITE {uri} SIP/2.0\r\n\r\n".encode())
    context = RequestContext(peer, None, frozenset({"a.example"}), None, lambda name: None)
    return policy.route(request, context)


def test_the_policy_keeps_partners_from_the_users_it_names(policy: IRoutingPolicy) -> None:
    because = "sip:carol@a.example is for colleagues, and b.example is a partner"
    assert ask(policy, PARTNER, "sip:carol@a.example") == Reject(403, because)
    assert ask(policy, PARTNER, "sip:carol@A.example;transport=tls") == Reject(403, because)


@pytest.mark.parametrize(
    ("peer", "uri"),
    [
        (COLLEAGUE, "sip:carol@a.example"),
        (PHONE, "sip:carol@a.example"),
        (PARTNER, "sip:alice@a.example"),
        (PARTNER, "tel:+4930"),
    ],
)
def test_the_policy_has_no_opinion_about_anything_else(policy: IRoutingPolicy, peer: Peer, uri: str) -> None:
    assert ask(policy, peer, uri) is None


def test_the_policy_is_about_ten_lines() -> None:
    _, _, code = block("python").partition("@implementer")
    assert len([line for line in code.splitlines() if line.strip()]) <= 10


def test_its_commands_are_in_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text()
    named = set(re.findall(r"(?:^ {4}|`)make ([a-z]+)", README, re.MULTILINE))
    assert {"run", "test", "demo", "bench", "docs"} <= named
    for target in named:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"make {target} is in the README alone"


def test_its_links_lead_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if not link.startswith("https:")]
    assert links
    for link in links:
        assert (ROOT / link).exists(), f"{link} is in the README, and not there"
