"""URIs: RFC 3261 §19.1 and RFC 3966, with what a stranger makes of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipmesh.sip import OtherUri, SipSyntaxError, SipUri, TelUri, parse_sip_uri, parse_uri
from sipmesh.sip.uri import format_params, parse_params

EQUAL = [
    # RFC 3261 §19.1.4, its own examples
    ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
    ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
    ("sip:carol@chicago.com", "sip:carol@chicago.com;security=on"),
    ("sip:carol@chicago.com;newparam=5", "sip:carol@chicago.com;security=on"),
    (
        "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
        "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
    ),
    (
        "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
        "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
    ),
    # the rules in its text
    ("SIP:bob@biloxi.com", "sip:bob@biloxi.com"),
    ("sip:b%6fb@biloxi.com", "sip:b%6Fb@biloxi.com"),
    ("sip:a%3bb@biloxi.com", "sip:a%3Bb@biloxi.com"),
    ("sip:bob@biloxi.com;%6C%72", "sip:bob@biloxi.com;lr"),
    # RFC 5954 §4.2
    ("sip:bob@[2001:db8::9:1]", "sip:bob@[2001:DB8:0:0:0:0:9:01]"),
    ("sip:bob@[::ffff:192.0.2.1]", "sip:bob@[::ffff:c000:201]"),
    # RFC 3966 §4
    ("tel:+1-201-555-0123", "tel:+12015550123"),
    ("tel:7042;phone-context=example.com;x=1", "tel:7042;X=1;Phone-Context=Example.Com"),
]

UNEQUAL = [
    # RFC 3261 §19.1.4, its own examples
    ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
    ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
    ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
    ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
    ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
    ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
    ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"),
    # the rules in its text
    ("sip:bob@biloxi.com", "sips:bob@biloxi.com"),
    ("sip:bob@biloxi.com", "sip:biloxi.com"),
    ("sip:bob:pw@biloxi.com", "sip:bob@biloxi.com"),
    ("sip:bob:pw@biloxi.com", "sip:bob:PW@biloxi.com"),
    *((f"sip:bob@biloxi.com;{p}=1", "sip:bob@biloxi.com") for p in ("user", "ttl", "method", "maddr")),
    # reserved: escaped is not the same as bare; nor may an escaped % begin an escape
    ("sip:a%3Bb@biloxi.com", "sip:a;b@biloxi.com"),
    ("sip:a%2540b@biloxi.com", "sip:a%40b@biloxi.com"),
    ("sip:null-%00-null@biloxi.com", "sip:null--null@biloxi.com"),
    ("sip:bob@[2001:db8::9:1]", "sip:bob@[2001:db8::9:2]"),
    ("tel:+12015550123", "tel:12015550123"),
    ("tel:7042;phone-context=example.com", "tel:7042;phone-context=example.net"),
    ("tel:7042", "sip:7042@example.com"),
    ("urn:service:sos", "urn:service:SOS"),
]


@pytest.mark.parametrize(("one", "other"), EQUAL)
def test_equal(one: str, other: str) -> None:
    assert parse_uri(one).equivalent(parse_uri(other))
    assert parse_uri(other).equivalent(parse_uri(one))


@pytest.mark.parametrize(("one", "other"), UNEQUAL)
def test_unequal(one: str, other: str) -> None:
    assert not parse_uri(one).equivalent(parse_uri(other))
    assert not parse_uri(other).equivalent(parse_uri(one))


def test_parts() -> None:
    uri = parse_sip_uri(b"SIPS:alice:secret@Example.COM:5071;Transport=TLS;lr?Subject=x&y=z")
    assert uri.scheme == "sips"
    assert uri.user == "alice"
    assert uri.password == "secret"
    assert uri.host == "example.com"
    assert uri.port == 5071
    assert uri.params == (("transport", "TLS"), ("lr", None))
    assert uri.headers == "Subject=x&y=z"
    assert uri.param("lr") == ""
    assert uri.param("maddr") is None


@pytest.mark.parametrize(
    ("text", "user", "host"),
    [
        ("sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@a.b",
         "1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*", "a.b"),
        ("sip:user;par=u%40example.net@example.com", "user;par=u%40example.net", "example.com"),
        ("sip:+1-212-555-1212:1234@gateway.com;user=phone", "+1-212-555-1212", "gateway.com"),
        ("sips:1212@gateway.com", "1212", "gateway.com"),
        ("sip:atlanta.com;method=REGISTER?to=alice%40atlanta.com", None, "atlanta.com"),
        ("sip:alice@[2001:db8::1]:5061", "alice", "[2001:db8::1]"),
        ("sip:alice@example.com.", "alice", "example.com."),
    ],
)  # fmt: skip
def test_user_and_host(text: str, user: str | None, host: str) -> None:
    uri = parse_sip_uri(text)
    assert (uri.user, uri.host) == (user, host)
    assert str(uri) == text


@pytest.mark.parametrize(
    "text",
    [
        "", "sip", "sip:", "sip:@", "sip:@host", "sip:a@", "sip:a@b@c", "sip:a@b:", "sip:a@b:0",
        "sip:a@b:65536",
        "sip:a@b:123456", "sip:a@b c", "sip:a b@c", "<sip:a@b>", '"sip:a@b"', "sip:a@b;", "sip:a@b;;lr",
        "sip:a@b;=x",
        "sip:a@b;x=1;x=2", "sip:a@b;transport=tls;%74ransport=tcp", "sip:a@[::1", "sip:a@::1",
        "sip:a@[1::2::3]",
        "sip:a@[]", "sip:a@[::1]x", "sip:a@.", "sip:a@b..c", "sip:a@.b", "sip:a%zz@b", "sip:a%4@b",
        "sip:a@b;x=%",
        "sip:a\x00@b", "sip:a\r\n@b", "sip:a@b\n", "sip:a@b;x=\x7f", "tel:", "tel:+", "tel:abc xyz",
        "tel:hello",
        "tel:+1;a=1;a=2", "1x:abc", "no-colon", ":x", "urn:", "urn:a b", "*", "sip:a@exa\xa0mple",
    ],
)  # fmt: skip
def test_malformed(text: str) -> None:
    with pytest.raises(SipSyntaxError):
        parse_uri(text)


def test_an_error_holds_no_password() -> None:
    for text in ("sip:alice:hunter2@exa mple.com", "sip:alice:hunter2@example.com:0", "x:hunter2 "):
        with pytest.raises(SipSyntaxError) as caught:
            parse_uri(text)
        assert "hunter2" not in caught.value.reason
    assert "hunter2" not in repr(parse_uri("sip:alice:hunter2@example.com"))


def test_only_sip_is_a_sip_uri() -> None:
    for text in ("tel:+12015550123", "urn:service:sos"):
        with pytest.raises(SipSyntaxError):
            parse_sip_uri(text)


def test_other_schemes_are_kept_as_they_are() -> None:
    uri = parse_uri("Soap.Beep://192.0.2.103:3002")
    assert isinstance(uri, OtherUri)
    assert uri.scheme == "soap.beep"
    assert bytes(uri) == b"Soap.Beep://192.0.2.103:3002"


def test_tel() -> None:
    uri = parse_uri("tel:+1-(201).555-0123;phone-context=+1;ext")
    assert isinstance(uri, TelUri)
    assert uri.digits == "+12015550123"
    assert uri.params == (("phone-context", "+1"), ("ext", None))
    assert str(uri) == "tel:+1-(201).555-0123;phone-context=+1;ext"


@pytest.mark.parametrize(
    ("text", "aor"),
    [
        ("sips:%61lice:pw@Example.COM.:5061;lr?a=b", "sip:alice@example.com"),
        ("sip:example.com", "sip:example.com"),
        ("sip:sips%3Auser%40example.com@example.net", "sip:sips:user@example.com@example.net"),
        ("sip:null-%00-null@example.com", "sip:null-\x00-null@example.com"),
    ],
)
def test_address_of_record(text: str, aor: str) -> None:
    assert parse_sip_uri(text).aor == aor


def test_an_escape_hides_no_parameter() -> None:
    uri = parse_sip_uri("sip:cal%6Cer@host5.example.net;%6C%72;n%61me=v%61lue%25%34%31;a%3Bb=1")
    assert uri.params == (("lr", None), ("name", "v%61lue%25%34%31"), ("a%3bb", "1"))


def test_with_params_replaces() -> None:
    uri = parse_sip_uri("sip:a@b;transport=tcp;lr").with_params(("transport", "tls"), ("ob", None))
    assert str(uri) == "sip:a@b;lr;transport=tls;ob"


def test_bytes_that_are_no_utf8_survive() -> None:
    raw = b"sip:\xffnora\xc3\xab@example.com;x=\xfe"
    assert bytes(parse_uri(raw)) == raw


_escaped = st.integers(0, 255).map("%{:02x}".format)
_alnum = "abcXYZ019"
_user = st.lists(st.one_of(st.sampled_from(_alnum + "-_.!~*'()&=+$,;?/"), _escaped), min_size=1).map("".join)
_label = st.text(_alnum + "-", min_size=1, max_size=8)
_host = st.one_of(
    st.lists(_label, min_size=1, max_size=4).map(".".join),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map("[{}]".format),
)
_value = st.lists(st.one_of(st.sampled_from(_alnum + "[]/:&+$-_.=@"), _escaped)).map("".join)
_params = st.dictionaries(
    st.text("abclrtx-", min_size=1, max_size=10),
    st.one_of(st.none(), _value.map(lambda v: v.replace("@", ""))),
    max_size=5,
).map(lambda d: tuple(d.items()))
_headers = st.lists(st.tuples(st.text("abAB-", min_size=1), _value), min_size=1, max_size=3).map(
    lambda pairs: "&".join(f"{n}={v}" for n, v in pairs)
)


@st.composite
def sip_uris(draw: st.DrawFn) -> str:
    """The text of a valid URI."""
    user = draw(st.one_of(st.none(), _user))
    password = "" if user is None else draw(st.one_of(st.just(""), _label.map(":{}".format)))
    port = draw(st.one_of(st.just(""), st.integers(1, 65535).map(":{}".format)))
    headers = draw(st.one_of(st.just(""), _headers.map("?{}".format)))
    scheme = draw(st.sampled_from(["sip", "SIPS"]))
    userinfo = "" if user is None else f"{user}{password}@"
    return f"{scheme}:{userinfo}{draw(_host)}{port}{format_params(draw(_params))}{headers}"


@given(sip_uris())
def test_parse_write_parse(text: str) -> None:
    uri = parse_uri(text)
    assert isinstance(uri, SipUri)
    assert parse_uri(str(uri)) == uri
    assert parse_uri(bytes(uri)) == uri
    assert uri.equivalent(uri)
    assert len(str(uri)) == len(text)


@given(sip_uris(), sip_uris())
def test_equivalence_is_symmetric(one: str, other: str) -> None:
    assert parse_uri(one).equivalent(parse_uri(other)) == parse_uri(other).equivalent(parse_uri(one))


@given(_user, _host, st.data())
def test_equivalence_ignores_escapes_of_what_is_not_reserved(
    user: str, host: str, data: st.DataObject
) -> None:
    plain = "".join(c for c in user if c.isalnum()) or "x"
    spelt = "".join(data.draw(st.sampled_from([c, f"%{ord(c):02x}", f"%{ord(c):02X}"])) for c in plain)
    assert parse_uri(f"sip:{plain}@{host}").equivalent(parse_uri(f"sip:{spelt}@{host}"))


@given(_params)
def test_params_survive(params: tuple[tuple[str, str | None], ...]) -> None:
    assert parse_params(format_params(params)) == params


@given(st.one_of(st.text(), st.binary(), st.text("sip:tel@[]%;=?.&a0 ", max_size=30)))
def test_nothing_but_a_syntax_error(text: str | bytes) -> None:
    try:
        uri = parse_uri(text)
    except SipSyntaxError:
        return
    assert uri.equivalent(uri)
    assert parse_uri(bytes(uri)) == uri
    if isinstance(uri, SipUri):
        assert uri.aor
        assert uri.domain


def test_a_parameter_twice_with_one_value_is_that_parameter() -> None:
    # baresip writes ";transport=tls" behind what its user dialled, even if it was there already.
    assert parse_uri("sip:bob@b.example;transport=tls;transport=tls") == parse_uri(
        "sip:bob@b.example;transport=tls"
    )
