"""sipmesh.toml: what is right is taken as it stands; what is wrong gets the message that mends it."""

from __future__ import annotations

import os
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipmesh.server.configuration import Configuration, Limits, Listen, Registrar
from sipmesh.server.loading import load, read
from sipmesh.server.problems import ConfigurationError, Problem, Unfit
from sipmesh.server.rules import DnsServer, HostName, host_and_port

SMALLEST = {
    "server": 'name = "fe1.a.example"\ndomains = ["a.example"]',
    "tls": 'certificate = "fe1.pem"\nkey = "fe1.key"',
    "[listen]": 'endpoint = "tcp:5061"\npeers = "both"',
}


def written(directory: Path, **sections: str) -> Path:
    """The smallest configuration, with these sections in place of its own or beside them."""
    known = SMALLEST | {
        f"[{k}]" if k in ("listen", "routing", "server_list") else k: v for k, v in sections.items()
    }
    file = directory / "sipmesh.toml"
    file.write_text("\n".join(f"[{name}]\n{text}\n" for name, text in known.items()), "utf-8")
    return file


def problems(file: Path) -> dict[str, Problem]:
    with pytest.raises(ConfigurationError) as caught:
        load(file)
    found = caught.value.problems
    assert len({p.key for p in found}) == len(found)
    assert all(p.file == file for p in found)
    return {problem.key: problem for problem in found}


def only_problem(file: Path) -> Problem:
    found = problems(file)
    assert len(found) == 1, found
    return next(iter(found.values()))


# What is right --------------------------------------------------------------------------------------------


def test_smallest_configuration_has_safe_defaults(tmp_path: Path) -> None:
    file = written(tmp_path)
    c = load(file)
    assert c.file == file
    assert (c.server.name, c.server.domains, c.server.port) == ("fe1.a.example", ("a.example",), 5061)
    assert c.tls.certificate == tmp_path / "fe1.pem"
    assert c.tls.minimum == "1.2"
    assert c.listen == (Listen("tcp:5061", "both"),)
    assert c.trust.enterprise == ()
    assert c.users is None
    assert c.location is None
    assert c.server_list == c.federation == c.routing == ()
    assert c.limits == Limits()
    assert c.registrar == Registrar()
    assert c.trace.socket is None
    assert c.realm == "a.example"


def test_every_section_is_read(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        trust='enterprise = ["ca.pem", "/etc/old-ca.pem"]',
        users='policy = "users.sqlite"\ndatabase = "users.db"\nrealm = "A Example"\nalgorithms = ["SHA-256"]',
        location='policy = "location.sqlite"\ndatabase = "location.db"',
        registrar="minimum = 30\nmaximum = 600\ndefault = 300\ncontacts = 3",
        server_list='policy = "server-list.static"\nnames = ["fe1.a.example"]',
        routing='policy = "company:Router"\nanything = [1, {a = 2}]',
        resolver='servers = ["127.0.0.1:5353", "[::1]"]\nhosts = "hosts"',
        limits="message = 4096\nhead = 2048\nhandshake = 3\nidle = 60.5",
        trace='socket = "run/trace.sock"',
    )
    c = load(file)
    assert c.trust.enterprise == (tmp_path / "ca.pem", Path("/etc/old-ca.pem"))
    assert c.users is not None
    assert c.users.policy == "users.sqlite"
    assert dict(c.users.keys) == {"database": "users.db"}
    assert c.user_settings.algorithms == ("SHA-256",)
    assert c.realm == "A Example"
    assert c.location is not None
    assert c.location.key == "location"
    assert c.registrar == Registrar(30, 600, 300, 3)
    assert dict(c.server_list[0].keys) == {"names": ["fe1.a.example"]}
    assert c.routing[0].policy == "company:Router"
    assert c.routing[0].key == "routing[0]"
    assert c.resolver.hosts == tmp_path / "hosts"
    assert (c.limits.message, c.limits.handshake, c.limits.idle) == (4096, 3.0, 60.5)
    assert c.trace.socket == tmp_path / "run/trace.sock"


def test_names_come_in_the_form_in_which_they_are_compared(tmp_path: Path) -> None:
    c = load(written(tmp_path, server='name = "FE1.A.Example."\ndomains = ["Bücher.example"]'))
    assert c.server.name == "fe1.a.example"
    assert c.server.domains == ("xn--bcher-kva.example",)


def test_pure_edge_has_no_domains_and_no_realm(tmp_path: Path) -> None:
    assert load(written(tmp_path, server='name = "edge.a.example"\ndomains = []')).realm is None


def test_relative_file_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path)
    monkeypatch.chdir(tmp_path)
    c = load(Path("sipmesh.toml"))
    monkeypatch.chdir("/")
    assert c.tls.key == tmp_path / "fe1.key"


def test_configuration_is_immutable(tmp_path: Path) -> None:
    c = load(written(tmp_path))
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        c.server.port = 1  # type: ignore[misc]


def test_every_key_is_documented() -> None:
    attributes = attrs.fields(attrs.resolve_types(Configuration))
    sections = [a.type for a in attributes if isinstance(a.type, type) and attrs.has(a.type)]
    assert Limits in sections
    for section in (Configuration, Listen, *sections):
        for attribute in attrs.fields(section):
            assert f":ivar {attribute.name}:" in (section.__doc__ or ""), (section, attribute.name)


# What is wrong --------------------------------------------------------------------------------------------


def test_everything_wrong_is_found_in_one_run(tmp_path: Path) -> None:
    file = tmp_path / "sipmesh.toml"
    file.write_text(
        """
        sever = 1
        [server]
        nmae = "fe1.a.example"
        port = "5061"
        domains = "a.example"
        [tls]
        minimum = "1.1"
        [[listen]]
        endpoint = "tcp:5061"
        peers = "client"
        [[listen]]
        peers = "both"
        [limits]
        message = true
        [[routing]]
        policy = "routing.registered"
        [[routing]]
        polcy = "routing.federated"
        """
    )
    assert set(problems(file)) == {
        "sever",
        "server.nmae",
        "server.name",
        "server.port",
        "server.domains",
        "tls.certificate",
        "tls.key",
        "tls.minimum",
        "listen[0].peers",
        "listen[1].endpoint",
        "limits.message",
        "routing[1].policy",
    }


@pytest.mark.parametrize(
    ("text", "key", "expected", "got", "remedy"),
    [
        ('name = "fe1.a.example"', "server.domains", "a list, each a DNS name", "nothing", "add it"),
        ('port = "5061"', "server.port", "a whole number", "the text '5061'", ""),
        ("port = true", "server.port", "a whole number", "the boolean true", ""),
        ("port = 5061.0", "server.port", "a whole number", "the number 5061.0", ""),
        ("port = 0", "server.port", "a number from 1 to 65535", "the number 0", ""),
        ("port = 65536", "server.port", "a number from 1 to 65535", "the number 65536", ""),
        ("port = [5061]", "server.port", "a whole number", "a list of 1", ""),
        ("port = {a = 1}", "server.port", "a whole number", "a table", ""),
        ("port = 2026-01-01", "server.port", "a whole number", "the date 2026-01-01", ""),
        ('name = "*.a.example"', "server.name", "a DNS name", "the text '*.a.example'", "no wildcard"),
        (
            'name = "192.0.2.1"',
            "server.name",
            "a DNS name",
            "the text '192.0.2.1'",
            "certificates prove names",
        ),
        ('name = ""', "server.name", "a DNS name", "the text ''", ""),
        ("name = 5", "server.name", "text", "the number 5", ""),
        (
            'domains = "a.example"',
            "server.domains",
            "a list, each a DNS name",
            "the text 'a.example'",
            "brackets",
        ),
        ('domains = ["a.example", "a b"]', "server.domains[1]", "a DNS name", "the text 'a b'", ""),
        (
            'domain = ["a.example"]',
            "server.domain",
            "one of name, domains, port",
            "a key nobody reads",
            "'domains'?",
        ),
        ("zzz = 1", "server.zzz", "one of name, domains, port", "a key nobody reads", "remove it"),
    ],
)
def test_server_section(tmp_path: Path, text: str, key: str, expected: str, got: str, remedy: str) -> None:
    given_key = text.partition(" ")[0]
    rest = [
        f"{k} = {v}" for k, v in (("name", '"fe1.a.example"'), ("domains", '["a.example"]')) if k != given_key
    ]
    if key == "server.domains" and given_key == "name":
        rest = []
    problem = only_problem(written(tmp_path, server="\n".join([text, *rest])))
    assert (problem.key, problem.expected, problem.got) == (key, expected, got)
    assert remedy in problem.remedy


@pytest.mark.parametrize(
    ("section", "text", "key", "expected", "remedy"),
    [
        ("tls", "certificate = 1\nkey = 'k'", "tls.certificate", "the path of a file", ""),
        ("tls", "certificate = 'c'", "tls.key", "the path of a file", "required"),
        (
            "tls",
            "certificate = 'c'\nkey = 'k'\nminimum = '1.1'",
            "tls.minimum",
            "one of '1.2', '1.3'",
            "mean",
        ),
        ("tls", "certificate = 'c'\nkey = 'k'\nminimum = 1.2", "tls.minimum", "one of '1.2', '1.3'", ""),
        ("trust", "enterprise = 'ca.pem'", "trust.enterprise", "a list, each the path of a file", "brackets"),
        (
            "listen",
            "endpoint = 'ssl:5061'\npeers = 'both'",
            "listen[0].endpoint",
            "endpoint string",
            "write tcp:",
        ),
        (
            "listen",
            "endpoint = 'tcp:70000'\npeers = 'both'",
            "listen[0].endpoint",
            "endpoint string",
            "65535",
        ),
        (
            "listen",
            "endpoint = 'tcp:x'\npeers = 'both'",
            "listen[0].endpoint",
            "endpoint string",
            "Twisted says",
        ),
        (
            "listen",
            "endpoint = 'tcp'\npeers = 'both'",
            "listen[0].endpoint",
            "endpoint string",
            "Twisted says",
        ),
        ("listen", "endpoint = 'tpc:1'\npeers = 'both'", "listen[0].endpoint", "endpoint string", "'tpc'"),
        (
            "listen",
            "endpoint = 'tcp:5061'",
            "listen[0].peers",
            "one of 'clients', 'servers', 'both'",
            "required",
        ),
        ("listen", "endpoint = 'tcp:5061'\npeers = 'server'", "listen[0].peers", "one of", "'servers'?"),
        ("users", "policy = 'users.sqlite'\nrealm = 'a\"b'", "users.realm", "printable", ""),
        ("users", "policy = 'users.sqlite'\nalgorithms = []", "users.algorithms", "at least one", ""),
        (
            "users",
            "policy = 'users.sqlite'\nalgorithms = ['sha-256']",
            "users.algorithms[0]",
            "SHA-256",
            "mean",
        ),
        ("users", "policy = 'x'\nalgorithms = ['MD5', 'MD5']", "users.algorithms", "none of them twice", ""),
        ("users", "realm = 'a'", "users.policy", "the name of a policy", "sipmesh policies"),
        ("location", "policy = ''", "location.policy", "the name of a policy", "sipmesh policies"),
        ("routing", "policy = 'a b'", "routing[0].policy", "the name of a policy", "sipmesh policies"),
        ("routing", "policy = 7", "routing[0].policy", "the name of a policy", "sipmesh policies"),
        ("federation", "policy = 'federation.allow'", "federation", "a list of tables", "[[federation]]"),
        ("registrar", "minimum = 0", "registrar.minimum", "seconds from 1 to", ""),
        ("registrar", "default = 10", "registrar.default", "60 to 7200", ""),
        ("registrar", "minimum = 3000\nmaximum = 100", "registrar.default", "minimum to maximum", ""),
        ("resolver", "servers = ['dns.a.example']", "resolver.servers[0]", "an address", ""),
        ("limits", "handshake = 0", "limits.handshake", "seconds", ""),
        ("limits", "handshake = inf", "limits.handshake", "a number", ""),
        ("limits", "handshake = nan", "limits.handshake", "a number", ""),
        ("limits", "handshake = '10'", "limits.handshake", "a number", ""),
        ("limits", "message = 10", "limits.message", "bytes", ""),
        ("limits", "message = 2048", "limits.head", "at most limits.message, here 2048", ""),
        ("limits", "connections_per_address = -1", "limits.connections_per_address", "at least 1", ""),
        ("trace", "sockte = 'x'", "trace.sockte", "one of socket", "'socket'?"),
        ("rooting", "policy = 'x'", "rooting", "one of server", "'routing'?"),
    ],
)
def test_other_sections(
    tmp_path: Path, section: str, text: str, key: str, expected: str, remedy: str
) -> None:
    found = problems(written(tmp_path, **{section: text}))
    assert key in found, found
    assert len(found) == 1, found
    assert expected in found[key].expected
    assert remedy in found[key].remedy


def test_no_port_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "sipmesh.toml"
    file.write_text("\n".join(f"[{name}]\n{SMALLEST[name]}" for name in ("server", "tls")))
    assert only_problem(file).key == "listen"


def test_same_port_twice_is_an_error(tmp_path: Path) -> None:
    file = written(tmp_path)
    file.write_text(file.read_text() + f"\n[[listen]]\n{SMALLEST['[listen]']}\n")
    assert "none of them twice" in only_problem(file).expected


def test_server_list_needs_a_ca_that_vouches_for_it(tmp_path: Path) -> None:
    file = written(tmp_path, server_list='policy = "server-list.static"\nnames = ["fe2.a.example"]')
    assert only_problem(file).key == "trust.enterprise"


def test_users_without_domain_need_a_realm(tmp_path: Path) -> None:
    server = 'name = "fe1.a.example"\ndomains = []'
    assert (
        only_problem(written(tmp_path, server=server, users='policy = "users.sqlite"')).key == "users.realm"
    )
    assert load(written(tmp_path, server=server, users='policy = "users.sqlite"\nrealm = "r"')).realm == "r"


@pytest.mark.parametrize(
    "endpoint", ["tcp:5061:interface=127.0.0.1", "tcp6:5061", "systemd:domain=INET:index=0"]
)
def test_any_plain_endpoint_is_taken(tmp_path: Path, endpoint: str) -> None:
    c = load(written(tmp_path, listen=f'endpoint = "{endpoint}"\npeers = "clients"'))
    assert c.listen[0].endpoint == endpoint


# The file itself ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "place", "got"),
    [
        (b"[server]\nname = fe1.a.example\n", "line 2, column 8", "Invalid value"),
        (b"[server]\nname = 'a'\nname = 'b'\n", "line 3, column 11", "Cannot overwrite a value"),
        (b"[server]\n\nname = '\xff'\n", "line 3, column 9", "no UTF-8"),
        (b"[server", "", "Expected ']'"),
        (b"a = " + b"[" * 5000, "", ""),
        (b"a = " + b"1" * 5000, "", "5000 digits"),
    ],
)
def test_what_is_no_toml_is_placed(tmp_path: Path, data: bytes, place: str, got: str) -> None:
    file = tmp_path / "sipmesh.toml"
    file.write_bytes(data)
    problem = only_problem(file)
    assert problem.key == place
    assert problem.expected == "TOML"
    assert got in problem.got


def test_missing_file_names_the_command_that_makes_one(tmp_path: Path) -> None:
    problem = only_problem(tmp_path / "none.toml")
    assert problem.got == "No such file or directory"
    assert "sipmesh init" in problem.remedy


def test_directory_is_no_file(tmp_path: Path) -> None:
    assert only_problem(tmp_path).got == os.strerror(21)


def test_message_has_file_key_expected_got_and_remedy(tmp_path: Path) -> None:
    file = written(tmp_path, listen="endpoint = 'tcp:5061'\npeers = 'server'")
    with pytest.raises(ConfigurationError) as caught:
        load(file)
    assert str(caught.value) == (
        f"{file}: listen[0].peers: expected one of 'clients', 'servers', 'both', got the text 'server'\n"
        "    did you mean 'servers'?"
    )


def test_long_values_are_cut_short(tmp_path: Path) -> None:
    problem = only_problem(written(tmp_path, listen=f"endpoint = 'tcp:5061'\npeers = '{'x' * 9999}'"))
    assert len(problem.got) < 100


def test_read_gives_what_fits_beside_what_does_not(tmp_path: Path) -> None:
    sections, found = read(written(tmp_path, limits="message = 'x'"))
    assert sections["limits"] is None
    assert sections["server"].name == "fe1.a.example"
    assert [p.key for p in found] == ["limits.message"]


# Rules ----------------------------------------------------------------------------------------------------


@given(st.text(max_size=300))
def test_host_name_takes_a_name_or_says_no(text: str) -> None:
    try:
        name = str(HostName().check(text))
    except Unfit:
        return
    assert name == name.lower()
    assert name.isascii()
    assert 0 < len(name) <= 253
    assert HostName().check(name) == name


@given(st.ip_addresses(), st.integers(1, 65535))
def test_dns_server_with_port_is_taken_apart(address: object, port: int) -> None:
    host = f"[{address}]" if ":" in str(address) else str(address)
    text = f"{host}:{port}"
    assert DnsServer().check(text) == text
    assert host_and_port(text) == (str(address), port)
    assert host_and_port(host) == (str(address), 53)


@given(st.text(alphabet="0123456789.:[]ab", max_size=30))
def test_dns_server_is_an_address_or_refused(text: str) -> None:
    try:
        host, port = host_and_port(text)
    except ValueError:
        with pytest.raises(Unfit):
            DnsServer().check(text)
    else:
        assert 0 < port < 65536
        assert host_and_port(host) == (host, 53)
