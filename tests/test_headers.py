"""Header field values: RFC 3261 §20 and §25.1, and how much work a hostile one can make."""

from __future__ import annotations

import resource
import subprocess
import sys
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipmesh.sip import Address, SipSyntaxError, SipUri, TelUri, parse_uri
from sipmesh.sip.headers import (
    parse_address,
    parse_cseq,
    parse_delta_seconds,
    parse_header_params,
    parse_qvalue,
    parse_via,
    split_values,
)
from sipmesh.sip.names import SPELLINGS, canonical

# Via ----------------------------------------------------------------------------------------------------


def test_via() -> None:
    via = parse_via(b"SIP/2.0/tls PC.Example.com:5061;Branch=z9hG4bKx;rport;alias;received=192.0.2.1")
    assert (via.transport, via.host, via.port, via.branch) == ("TLS", b"pc.example.com", 5061, b"z9hG4bKx")
    assert via.param(b"rport") == b""
    assert via.param(b"received") == b"192.0.2.1"
    assert via.param(b"maddr") is None


@pytest.mark.parametrize(
    ("value", "host", "branch"),
    [
        (b"SIP/2.0/TLS a.b", b"a.b", b""),
        (b"SIP / 2.0 / TCP  a.b ; branch = z9x ", b"a.b", b"z9x"),
        (b"sip/2.0/TLS [2001:DB8::1]:5061;branch=z9x", b"[2001:db8::1]", b"z9x"),
        (b"SIP/2.0/TLS a.b ; xbranch=no;branch=z9x", b"a.b", b"z9x"),
        (b"SIP/2.0/TLS a.b;received=2001:db8::1;branch=z9x", b"a.b", b"z9x"),
        (b"SIP/2.0/TLS a.b;received=[2001:db8::1];branch=z9x", b"a.b", b"z9x"),
        (b'SIP/2.0/TLS a.b;p=";branch=evil";branch=z9x', b"a.b", b"z9x"),
        (b'SIP/2.0/TLS a.b;p="\\";branch=evil;q=\\"";branch=z9x;r="a,b"', b"a.b", b"z9x"),
        (b'SIP/2.0/TLS a.b;p="x,y";branch=z9x, SIP/2.0/TLS c.d;branch=no', b"a.b", b"z9x"),
        (b"SIP/2.0/TLS a.b;branch=z9x,SIP/2.0/TLS c.d;branch=no", b"a.b", b"z9x"),
        (b"SIP/2.0/TLS a.b;rport;branch=", b"a.b", b""),
        (
            b"SIP/2.0/UDP host.example.com.;branch=z9hG4bK-.!%66*_+`'~",
            b"host.example.com.",
            b"z9hG4bK-.!%66*_+`'~",
        ),
    ],
)
def test_via_spelt_unusually(value: bytes, host: bytes, branch: bytes) -> None:
    via = parse_via(value)
    assert (via.host, via.branch) == (host, branch)
    assert via.param(b"branch") == (branch if b"branch" in value else None)


@pytest.mark.parametrize(
    "value",
    [
        b"", b"SIP/2.0/TLS", b"SIP/2.0 a.b", b"SIP/7.0/TLS a.b", b"SIP/2.0/TLS a.b:0",
        b"SIP/2.0/TLS a.b:65536",
        b"SIP/2.0/TLS a.b c", b"SIP/2.0/TLS a..b", b"SIP/2.0/TLS a.b;;branch=x", b"SIP/2.0/TLS a.b;branch=x;",
        b"SIP/2.0/TLS a.b;=x", b'SIP/2.0/TLS a.b;p="unbalanced', b"SIP/2.0/TLS a.b;branch=x y",
        b"SIP/2.0/TLS a@b",
        b"SIP/2.0/TLS [::1;branch=x", b"SIP/2.0/TLS a.b;branch=x\x00", b", ,",
    ],
)  # fmt: skip
def test_via_malformed(value: bytes) -> None:
    with pytest.raises(SipSyntaxError):
        parse_via(value)


# CSeq ---------------------------------------------------------------------------------------------------


def test_cseq() -> None:
    assert parse_cseq(b"0009 \t INVITE").number == 9
    assert parse_cseq(b"2147483647 !interesting-Method0123456789_*+`.%indeed'~").number == 2**31 - 1
    assert parse_cseq(b"1 invite").method == b"invite"


@pytest.mark.parametrize(
    "value", [b"", b"INVITE", b"1", b"1INVITE", b"-1 INVITE", b"2147483648 INVITE",
     b"36893488147419103232 REGISTER",
              b"1 IN VITE", b"1 INVITE\x00", b"\xd9\xa1 INVITE"],
)  # fmt: skip
def test_cseq_malformed(value: bytes) -> None:
    with pytest.raises(SipSyntaxError):
        parse_cseq(value)


# Addresses ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "display", "uri", "tag"),
    [
        (b"<sip:a@b.c>", "", "sip:a@b.c", None),
        (b"sip:a@b.c;tag=1", "", "sip:a@b.c", "1"),
        (b"sip:a@b.c ;   tag    = 1", "", "sip:a@b.c", "1"),
        (b"<sip:a@b.c;tag=no>;tag=yes", "", "sip:a@b.c;tag=no", "yes"),
        (b"caller<sip:a@b.c>;tag=323", "caller", "sip:a@b.c", "323"),
        (b"Mr.  Watson   <sip:a@b.c>", "Mr.  Watson", "sip:a@b.c", None),
        (b'"Bell, \\"Alex\\" \\\\ <x>" \t <sip:a@b.c>;tag=x', 'Bell, "Alex" \\ <x>', "sip:a@b.c", "x"),
        (b'"" <sip:a@b.c>', "", "sip:a@b.c", None),
        (b"<tel:+1-201-555-0123;phone-context=a.b>;tag=t", "", "tel:+1-201-555-0123;phone-context=a.b", "t"),
        (b"tel:+12015550123;phone-context=a.b", "", "tel:+12015550123", None),
        (b"<urn:service:sos>", "", "urn:service:sos", None),
        (b"\xd0\x91\xd0\xb0\xd0\xb1 <sip:a@b.c>", "Баб", "sip:a@b.c", None),
    ],
)
def test_address(value: bytes, display: str, uri: str, tag: str | None) -> None:
    address = parse_address(value)
    assert address.display == display
    assert address.uri == parse_uri(uri)
    assert address.tag == tag
    assert parse_address(bytes(address)) == address


def test_where_parameters_belong() -> None:
    bare = parse_address(b"tel:+12015550123;phone-context=a.b")
    assert isinstance(bare.uri, TelUri)
    assert bare.uri.params == ()
    assert bare.param("phone-context") == "a.b"
    inside = parse_address(b'<sip:a@b.c;lr;transport=tls>;Expires=60;q=0.5;+sip.instance="<urn:uuid:1>"')
    assert isinstance(inside.uri, SipUri)
    assert inside.uri.param("lr") == ""
    assert (inside.param("expires"), inside.param("q")) == ("60", "0.5")
    assert inside.param("+sip.instance") == '"<urn:uuid:1>"'


@pytest.mark.parametrize(
    "value",
    [
        b"", b"*", b"<>", b"a", b"<sip:a@b.c", b"sip:a@b.c>", b'"unbalanced <sip:a@b.c>',
        b'"a" b <sip:a@b.c>',
        b"Bell, Alexander <sip:a@b.c>", b"< sip:a@b.c >", b"<sip:a@b.c> x", b"<sip:a@b.c>;;tag=1",
        b"<sip:a@b.c>;tag=",
        b"<sip:a@b.c>;tag=1;tag=2", b"sip:a@b.c?Route=%3Csip:x%3E", b"<sip:a@b.c>;x=\"y", b"<<sip:a@b.c>>",
        b"<sip:a@b.c>,<sip:d@e.f>",
    ],
)  # fmt: skip
def test_address_malformed(value: bytes) -> None:
    if value.endswith(b"tag="):
        assert parse_address(value).tag == ""
        return
    with pytest.raises(SipSyntaxError):
        parse_address(value)


def test_an_error_holds_no_password() -> None:
    for value in (b"<sip:alice:hunter2@b c>", b'"x <sip:alice:hunter2@b>', b"sip:alice:hunter2@b?x=y"):
        with pytest.raises(SipSyntaxError) as caught:
            parse_address(value)
        assert "hunter2" not in caught.value.reason


@given(
    st.text().map(lambda t: t.strip()),
    st.dictionaries(st.text("abc-", min_size=1), st.text("xyz01", min_size=1)),
)
def test_an_address_survives(display: str, params: dict[str, str]) -> None:
    display = display.encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape")
    address = Address(parse_uri("sip:a@b.c;lr"), display, tuple(params.items()))
    assert parse_address(bytes(address)) == address


# Parameters, lists, numbers -----------------------------------------------------------------------------


def test_header_params() -> None:
    assert parse_header_params(' ; a = 1;B ;c="x;\\"y" ; received=[::1];r=::1;d= ') == (
        ("a", "1"), ("b", None), ("c", '"x;\\"y"'), ("received", "[::1]"), ("r", "::1"), ("d", None),
    )  # fmt: skip
    assert parse_header_params("  ") == ()


@pytest.mark.parametrize(
    "text", ["x", ";", ";;a", ";a b", ';a="b', ";a=b c", ";a=<b>", ";a,b", ";a;A", ';a="b"c']
)
def test_header_params_malformed(text: str) -> None:
    with pytest.raises(SipSyntaxError):
        parse_header_params(text)


@pytest.mark.parametrize(
    ("line", "values"),
    [
        (b"", []),
        (b"a", [b"a"]),
        (b"a , b,c", [b"a", b"b", b"c"]),
        (b",a,,b,", [b"a", b"b"]),
        (b'"a,b" <sip:x,y@z>;p=",", <sip:w@z>', [b'"a,b" <sip:x,y@z>;p=","', b"<sip:w@z>"]),
        (b'"\\",\\\\" <sip:a@b>,c', [b'"\\",\\\\" <sip:a@b>', b"c"]),
        (b'"unbalanced, <sip:a@b>, c', [b'"unbalanced, <sip:a@b>, c']),
        (b"<sip:a@b, <sip:c@d>, e", [b"<sip:a@b, <sip:c@d>", b"e"]),
        (b'"a\\', [b'"a\\']),
    ],
)
def test_split_values(line: bytes, values: list[bytes]) -> None:
    assert split_values(line) == values


_piece = st.one_of(
    st.binary(min_size=1).map(lambda b: bytes(c for c in b if c not in b'",<>\\ \t\r\n\x0b\x0c') or b"x"),
    st.just(b'"q,\\"\\\\"'),
    st.just(b"<sip:a,b@c>"),
)
_one_value = st.lists(_piece, min_size=1, max_size=4).map(b"".join)


@given(st.lists(_one_value), st.lists(st.sampled_from([b",", b" , ", b",,", b"\t, "]), min_size=1))
def test_values_joined_are_split_again(values: list[bytes], commas: list[bytes]) -> None:
    line = b"".join(v + commas[n % len(commas)] for n, v in enumerate(values))
    assert split_values(line) == values


@pytest.mark.parametrize(
    ("text", "q"), [(None, 1.0), ("1", 1.0), ("1.000", 1.0), ("0", 0.0), ("0.", 0.0), ("0.333", 0.333)]
)
def test_qvalue(text: str | None, q: float) -> None:
    assert parse_qvalue(text) == q


@pytest.mark.parametrize("text", ["", "1.1", "2", "-1", "0.3333", ".5", "nan", "1e0", "٠"])
def test_qvalue_malformed(text: str) -> None:
    with pytest.raises(SipSyntaxError):
        parse_qvalue(text)


def test_delta_seconds() -> None:
    assert parse_delta_seconds(b"0") == 0
    assert parse_delta_seconds("4294967295") == 2**32 - 1
    for text in ("", "4294967296", "-1", " 1", "1.5", "٣", "1" * 5000):
        with pytest.raises(SipSyntaxError):
            parse_delta_seconds(text)


# Names --------------------------------------------------------------------------------------------------


def test_names() -> None:
    for name in (b"Via", b"VIA", b"via", b"v", b"V", b"vIa ", b"Via\t "):
        assert canonical(name) == b"via"
    assert canonical(b"X-Own") == b"x-own"
    for name in (b"", b" Via", b"V ia", b"Via\x00", b"Vi\xe4", b"Via\r", b"Via\x0b", b"(x)", b"a/b"):
        assert canonical(name) is None


def test_each_common_spelling_is_what_its_name_says() -> None:
    for spelling, name in SPELLINGS.items():
        assert spelling.lower() == name or len(spelling) == 1
        assert canonical(name) == name


# What strangers send ------------------------------------------------------------------------------------

_hostile = st.one_of(
    st.binary(max_size=60),
    st.text(' \t;,="<>\\:@[]%?/.SIP20TLSabranch', max_size=60).map(str.encode),
)


@given(_hostile)
def test_nothing_but_a_syntax_error(value: bytes) -> None:
    for parse in (parse_via, parse_cseq, parse_address, parse_delta_seconds):
        with suppress(SipSyntaxError):
            parse(value)
    assert all(split_values(value))


_BOMBS = """
import sys
from sipmesh.sip import parse_message, parse_uri, SipSyntaxError
from sipmesh.sip.framing import Limits, StreamFramer
from sipmesh.sip.headers import *
from sipmesh.sip.splice import Splice, received_via

N = 65536
units = [b" ", b"\\t", b";", b";a", b";a ", b"; ", b";a=", b";a= ", b",", b", ", b"<", b">", b'"', b"\\\\",
 b'"\\\\', b'\\\\"', b"a",
         b".", b"a.", b":", b"%", b"%4", b"%41", b"=", b"\\r\\n ", b" \\r\\n ", b"\\\\\\0", b"[", b"]",
         b"SIP/", b"1", b"/ ", b"@",
         b"a@", b"&", b"?", b"&a=", b"-", b"\\r", b"\\n", b"\\r\\r\\n ", b'",', b'"a",', b"<a>,"]
starts = [b"", b'"', b"<", b"sip:", b"sip:a@", b"sip:a@b", b"sip:a@b;", b"sip:a@b?", b"tel:1", b"tel:1;",
 b"x:", b"SIP/2.0/TLS a",
          b"SIP/2.0/TLS a;", b'SIP/2.0/TLS a;a="', b"1 ", b'"a" ', b'"a', b"<sip:a@b>", b"<sip:a@b>;a", b"a"]
ends = [b"", b'"<', b"\\0"]
parsers = [parse_via, parse_cseq, parse_address, parse_delta_seconds, split_values, parse_uri,
           lambda v: parse_header_params(v.decode("latin-1")), lambda v: parse_qvalue(v.decode("latin-1"))]

def tried(parse, value):
    try:
        return parse(value)
    except SipSyntaxError:
        return None

def whole(value):
    raw = b"INVITE sip:a@b SIP/2.0\\r\\nVia: " + value + b"\\r\\nRoute: " + value + b"\\r\\nl:0\\r\\n\\r\\n"
    message = tried(parse_message, raw)
    if message is None:
        return
    message.values(b"route"), message.tokens(b"via")
    splice = Splice(message)
    splice.remove_first_value(b"route", 2)
    splice.to_bytes()
    tried(lambda m: received_via(m, "192.0.2.1", 1), message)

count = int(sys.argv[1])
for number, unit in enumerate(units):
    if number % 8 == count:
        body = (unit * (N // len(unit) + 1))[:N]
        for start in starts:
            for end in ends:
                for parse in parsers:
                    tried(parse, start + body + end)
        whole(body)
        whole(body + b'"<')
        tried(parse_message, body + b"\\r\\n\\r\\n")
        tried(parse_message, b"INVITE " + body + b" SIP/2.0\\r\\n\\r\\n")
print("done")
"""


def _ten_seconds() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (10, 10))


@pytest.mark.parametrize("part", range(8))
def test_no_64_kib_of_anything_take_long(part: int) -> None:
    """8 parsers, 20 beginnings, 44 repeated units, 3 ends: what is quadratic alone uses up the seconds."""
    ran = subprocess.run(
        [sys.executable, "-c", _BOMBS, str(part)],
        preexec_fn=_ten_seconds,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stdout == "done\n", ran.stderr[-2000:] or f"ended by signal {-ran.returncode}"
