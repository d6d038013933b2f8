"""Digest: the RFC's own examples, hostile credentials, nonces that can't be forged, moved or replayed."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipmesh.sip import SipSyntaxError
from sipmesh.sip.digest import (
    MD5,
    SHA_256,
    DigestCredentialsHeader,
    NonceCounts,
    NonceFactory,
    NonceState,
    expected_response,
    format_challenge,
    ha1,
    parse_credentials,
)

KEY = bytes(range(32))
FLOW = b"flow-1"
RESPONSES = {
    MD5: "8ca523f5e9506fed4657c9700eebdbec",
    SHA_256: "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
}
PRINTABLE = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=40)
TIMES = st.floats(min_value=0, max_value=4e9)


def mufasa(algorithm: str) -> bytes:
    """RFC 7616 §3.9.1, as the client of the example sends it."""
    return (
        b'Digest username="Mufasa", realm="http-auth@example.org", uri="/dir/index.html", '
        b"algorithm=" + algorithm.encode() + b", "
        b'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", nc=00000001, '
        b'cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", qop=auth, '
        b'response="' + RESPONSES[algorithm].encode() + b'", '
        b'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
    )


def credentials(**changes: str | None) -> bytes:
    """Minimal good credentials, with parameters replaced, added or (None) left out."""
    params: dict[str, str | None] = {
        "username": '"alice"',
        "realm": '"a.example"',
        "nonce": '"n"',
        "uri": '"sip:a.example"',
        "response": f'"{"0" * 64}"',
        "algorithm": "SHA-256",
        "cnonce": '"c"',
        "qop": "auth",
        "nc": "00000001",
    }
    params.update(changes)
    return ("Digest " + ", ".join(f"{k}={v}" for k, v in params.items() if v is not None)).encode()


# Responses


@pytest.mark.parametrize("algorithm", [SHA_256, MD5])
def test_examples_of_rfc_7616(algorithm: str) -> None:
    header = parse_credentials(mufasa(algorithm))
    secret = ha1(algorithm, header.username, header.realm, "Circle of Life")
    assert expected_response(algorithm, secret, b"GET", header) == header.response == RESPONSES[algorithm]


@pytest.mark.parametrize("other", [b"PUT", b"get"])
def test_response_depends_on_the_method(other: bytes) -> None:
    header = parse_credentials(mufasa(SHA_256))
    secret = ha1(SHA_256, header.username, header.realm, "Circle of Life")
    assert expected_response(SHA_256, secret, other, header) != header.response


def test_password_as_text_and_as_bytes_hash_alike() -> None:
    assert ha1(SHA_256, "zoë", "a.example", "pässword") == ha1(
        SHA_256, "zoë", "a.example", "pässword".encode()
    )


def test_only_known_algorithms_hash() -> None:
    with pytest.raises(ValueError, match="SHA-512-256"):
        ha1("SHA-512-256", "a", "b", "c")


@pytest.mark.parametrize("changes", [{"qop": "auth-int"}, {"qop": None, "nc": None, "cnonce": None}])
def test_no_response_without_qop_auth(changes: dict[str, str | None]) -> None:
    header = parse_credentials(credentials(**changes))
    with pytest.raises(ValueError, match="qop=auth"):
        expected_response(SHA_256, "0" * 64, b"REGISTER", header)


# Challenges


def test_challenge_as_the_grammar_has_it() -> None:
    value = format_challenge("a.example", "n0", SHA_256, stale=False)
    assert value == b'Digest realm="a.example", nonce="n0", qop="auth", algorithm=SHA-256'
    assert format_challenge("a.example", "n0", MD5, stale=True) == (
        b'Digest realm="a.example", nonce="n0", qop="auth", algorithm=MD5, stale=true'
    )


def test_challenge_escapes_the_realm() -> None:
    assert b'realm="the \\"inner\\" \\\\ circle"' in format_challenge(
        'the "inner" \\ circle', "n", MD5, False
    )


@pytest.mark.parametrize("realm", ["a\r\nContact: <sip:evil@b.example>", "a\x00", "a\x7f"])
def test_challenge_cannot_be_split(realm: str) -> None:
    with pytest.raises(ValueError, match="control character"):
        format_challenge(realm, "n", MD5, False)


def test_challenge_with_unknown_algorithm() -> None:
    with pytest.raises(ValueError, match="MD4"):
        format_challenge("a", "n", "MD4", False)


# Credentials


@given(username=PRINTABLE, realm=PRINTABLE, cnonce=PRINTABLE)
def test_quoted_strings_survive_the_round_trip(username: str, realm: str, cnonce: str) -> None:
    def quoted(text: str) -> str:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    header = parse_credentials(
        credentials(username=quoted(username), realm=quoted(realm), cnonce=quoted(cnonce))
    )
    assert (header.username, header.realm, header.cnonce) == (username, realm, cnonce)


def test_every_field_is_read() -> None:
    value = credentials(
        opaque='"o"', algorithm="sha-256", qop="AUTH", nc="0000001F", response='"' + "Ab" * 32 + '"'
    )
    header = parse_credentials(value)
    assert header == DigestCredentialsHeader(
        "alice", "a.example", "n", "sip:a.example", "ab" * 32, SHA_256, "c", "auth", "0000001F", "o"
    )
    assert header.count == 31


def test_commas_in_quotes_empty_elements_and_quoted_tokens() -> None:
    value = credentials(username='"a,b\\",realm=\\"x"', algorithm='"MD5"', qop='"auth"', nc='"00000002"')
    header = parse_credentials(b"DIGEST\t" + value[7:].replace(b", uri", b" , ,\turi") + b" , ")
    assert header.username == 'a,b",realm="x'
    assert (header.algorithm, header.qop, header.count, header.realm) == (MD5, "auth", 2, "a.example")


def test_defaults_where_little_is_given() -> None:
    header = parse_credentials(credentials(algorithm=None, qop=None, nc=None, cnonce=None))
    assert (header.algorithm, header.qop, header.nc, header.cnonce, header.opaque) == (
        MD5,
        None,
        None,
        None,
        None,
    )
    assert header.count == 0


@pytest.mark.parametrize("name", ["username", "realm", "nonce", "uri", "response", "nc", "cnonce"])
def test_what_is_required_is_required(name: str) -> None:
    with pytest.raises(SipSyntaxError):
        parse_credentials(credentials(**{name: None}))


@pytest.mark.parametrize("twice", [b', username="bob"', b", UserName=bob", b', x=1, X="1"'])
def test_duplicates_are_refused(twice: bytes) -> None:
    with pytest.raises(SipSyntaxError, match="twice"):
        parse_credentials(credentials() + twice)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"Digest",
        b"Digest ",
        b"Basic YWxpY2U6c2VjcmV0",
        b'Digestusername="alice"',
        credentials(uri="sip:a.example"),
        credentials(username='"alice'),
        credentials(username='"alice\\"'),
        credentials(username='"ali\x00ce"'),
        credentials(username='"ali\r\nce"'),
        credentials(username='"a" "b"'),
        credentials(nc="1"),
        credentials(nc="0000000g"),
        credentials(nc="+0000001"),
        credentials(response='"' + "0" * 31 + '"'),
        credentials(response='"' + "0" * 65 + '"'),
        credentials(response='"' + "x" * 64 + '"'),
        credentials(response='"' + "٠" * 32 + '"'),
        credentials() + b", ;",
        credentials() + b", =x",
        credentials() + b", x",
        credentials() + b', x="\xff"',
        credentials() + b"".join(b", x%d=1" % n for n in range(33)),
        credentials() + b", x=" + b"y" * 4096,
    ],
)
def test_hostile_credentials_are_syntax_errors(value: bytes) -> None:
    with pytest.raises(SipSyntaxError):
        parse_credentials(value)


@given(st.binary(max_size=300) | st.binary(max_size=300).map(lambda b: b"Digest " + b))
def test_any_bytes_parse_or_are_a_syntax_error(value: bytes) -> None:
    try:
        header = parse_credentials(value)
    except SipSyntaxError:
        return
    assert header.username is not None


@pytest.mark.parametrize("filler", [b"a", b'"', b"\\", b"\\\\", b",", b" ", b"a=", b'a="', b"a ,", b"="])
def test_hostile_filler_is_read_in_linear_time(filler: bytes) -> None:
    # Catastrophic backtracking would not end within anyone's patience at this length.
    for start in (b"Digest ", b'Digest x="', b"Digest x="):
        with pytest.raises(SipSyntaxError):
            parse_credentials((start + filler * 4096)[:4096])


def test_neither_repr_nor_error_shows_the_response() -> None:
    secret = "5ec" * 21 + "a"
    assert secret not in repr(parse_credentials(credentials(response=f'"{secret}"')))
    with pytest.raises(SipSyntaxError) as caught:
        parse_credentials(credentials(response=f'"{secret}", ;'))
    assert secret not in str(caught.value)


# Nonces


@given(made=TIMES, age=st.floats(min_value=0, max_value=300), binding=st.binary(max_size=40))
def test_nonce_is_valid_for_its_lifetime_on_its_flow(made: float, age: float, binding: bytes) -> None:
    nonces = NonceFactory(KEY, 300.001)
    assert nonces.check(nonces.make(made, binding), made + age, binding) is NonceState.VALID


@given(made=TIMES, over=st.floats(min_value=0.001, max_value=1e9))
def test_old_nonce_is_stale(made: float, over: float) -> None:
    nonces = NonceFactory(KEY, 300)
    assert nonces.check(nonces.make(made, FLOW), made + 300 + over, FLOW) is NonceState.STALE


def test_nonce_from_the_future_is_stale() -> None:
    nonces = NonceFactory(KEY, 300)
    assert nonces.check(nonces.make(1000.0, FLOW), 999.0, FLOW) is NonceState.STALE


@given(a=st.binary(max_size=20), b=st.binary(max_size=20))
def test_nonce_is_worth_nothing_on_another_flow(a: bytes, b: bytes) -> None:
    nonces = NonceFactory(KEY, 300)
    state = nonces.check(nonces.make(1000.0, a), 1000.0, b)
    assert state is (NonceState.VALID if a == b else NonceState.FORGED)


@given(place=st.integers(min_value=0, max_value=32), flip=st.integers(min_value=1, max_value=255))
def test_every_bit_of_a_nonce_is_signed(place: int, flip: int) -> None:
    nonces = NonceFactory(KEY, 300)
    raw = bytearray(base64.urlsafe_b64decode(nonces.make(1000.0, FLOW)))
    raw[place] ^= flip
    assert nonces.check(base64.urlsafe_b64encode(raw).decode(), 1000.0, FLOW) is NonceState.FORGED


@given(st.text(max_size=60))
def test_inventions_are_forged(nonce: str) -> None:
    assert NonceFactory(KEY, 300).check(nonce, 1000.0, FLOW) is NonceState.FORGED


def test_a_nonce_has_one_spelling() -> None:
    nonces = NonceFactory(KEY, 300)
    nonce = nonces.make(1000.0, FLOW)
    for other in (nonce + "=", nonce + "\n", " " + nonce, nonce[:-1], nonce + "AAAA", nonce + "===="):
        assert nonces.check(other, 1000.0, FLOW) is NonceState.FORGED


def test_another_key_makes_other_nonces() -> None:
    nonce = NonceFactory(bytes(32), 300).make(1000.0, FLOW)
    assert NonceFactory(KEY, 300).check(nonce, 1000.0, FLOW) is NonceState.FORGED


def test_nonces_of_one_instant_differ() -> None:
    nonces = NonceFactory(KEY, 300)
    assert len({nonces.make(1000.0, FLOW) for _ in range(100)}) == 100


def test_a_short_key_is_refused_and_no_key_is_shown() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        NonceFactory(b"short", 300)
    assert "key" not in repr(NonceFactory(KEY, 300))


# Counts


def test_counts_have_to_rise() -> None:
    counts = NonceCounts()
    assert [counts.accept("n", nc) for nc in (1, 1, 2, 7, 7, 3, 8)] == [
        True,
        False,
        True,
        True,
        False,
        False,
        True,
    ]
    assert not counts.accept("m", 0)


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(min_value=0, max_value=9))))
def test_no_pair_of_nonce_and_count_is_accepted_twice(pairs: list[tuple[str, int]]) -> None:
    counts = NonceCounts()
    accepted = [pair for pair in pairs if counts.accept(*pair)]
    assert len(accepted) == len(set(accepted))


def test_memory_for_nonces_is_bounded_and_keeps_those_in_use() -> None:
    counts = NonceCounts()
    assert counts.accept("in use", 1)
    for number in range(100):
        assert counts.accept(f"n{number}", 1)
        assert not counts.accept("in use", 1)
        assert counts.accept("in use", number + 2)
    assert len(counts._highest) == NonceCounts.KEPT
