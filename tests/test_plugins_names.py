"""Names as administrators write them and as peers claim them."""

from __future__ import annotations

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from sipmesh.decisions import Direction, Presented
from sipmesh.trust.identities import normalize
from sipmesh_plugins.names import claimed, host_name, host_names

label = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
names = (
    st.lists(label, min_size=1, max_size=5).map(".".join).filter(lambda n: not n.replace(".", "").isdigit())
)


@given(names, st.data())
def test_case_and_a_trailing_dot_make_no_difference(name: str, data: st.DataObject) -> None:
    spelt = "".join(data.draw(st.sampled_from((c.lower(), c.upper()))) for c in name)
    assert host_name(spelt) == host_name(spelt + ".") == name


@given(st.text(max_size=60) | names)
@example("BÜCHER.example")
@example("straße.example")
@example("a。example。")
@example("a\n")
@example("\u212a.example")
def test_normalising_twice_is_normalising_once_and_agrees_with_the_framework(text: str) -> None:
    try:
        name = host_name(text)
    except ValueError:
        return
    assert host_name(name) == name == normalize(text)
    assert name.isascii()
    assert name == name.lower()
    assert not name.endswith(".")


@given(st.text(max_size=60))
def test_what_the_framework_takes_for_no_name_is_none_here(text: str) -> None:
    try:
        normalize(text)
    except ValueError:
        with pytest.raises(ValueError, match="is no host name"):
            host_name(text)
    else:
        assume(False)


def test_international_names_become_a_labels() -> None:
    assert host_names(["Bücher.Example.", "xn--bcher-kva.example"]) == {"xn--bcher-kva.example"}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "no host name"),
        (".", "no host name"),
        ("*.a.example", "no host name"),
        ("a..example", "no host name"),
        ("-a.example", "no host name"),
        ("a.example:5061", "no host name"),
        ("sip:a.example", "no host name"),
        ("a.example\n", "no host name"),
        ("a" * 64 + ".example", "no host name"),
        ("a." * 127 + "example", "no host name"),
        ("☃\u0000.example", "no host name"),
        ("192.0.2.1", "IP address"),
    ],
)
def test_what_no_certificate_can_prove_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        host_name(text)


def presented(*identities: str, meant: str | None = None) -> Presented:
    direction = Direction.INBOUND if meant is None else Direction.OUTBOUND
    return Presented(identities, (), "192.0.2.1", direction, meant)


def test_the_first_known_name_is_the_claim() -> None:
    assert (
        claimed(presented("x.example", "b.example", "a.example"), {"a.example", "b.example"}) == "b.example"
    )
    assert claimed(presented("x.example"), {"a.example"}) is None
    assert claimed(presented(), {"a.example"}) is None


def test_outbound_only_the_name_meant_is_a_claim() -> None:
    known = {"a.example", "b.example"}
    assert claimed(presented("a.example", "b.example", meant="b.example"), known) == "b.example"
    assert claimed(presented("a.example", meant="b.example"), known) is None
    assert claimed(presented("x.example", meant="x.example"), known) is None
