"""Policies: found by name or as module:Class, built strictly from their keys, held to their interface."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Literal

import pytest
from attrs import define, field, frozen, validators
from twisted.cred.checkers import ICredentialsChecker

from sipmesh.decisions import PolicyPlugin
from sipmesh.interfaces import IFederationPolicy, ILocationStore, IRoutingPolicy, ISecureServerList
from sipmesh.server.configuration import PolicySection
from sipmesh.server.installed import installed_policies, origin
from sipmesh.server.loading import load
from sipmesh.server.misfits import described
from sipmesh.server.policies import import_class, load_policies, load_policy
from sipmesh.server.problems import ConfigurationError, Problem, Unfit
from sipmesh.server.structuring import structure
from sipmesh.sip import SipUri, TelUri, Uri, parse_sip_uri
from sipmesh_plugins.server_list_static import StaticServerList

HEAD = """
from attrs import frozen, define, field
from zope.interface import implementer
from sipmesh.interfaces import IRoutingPolicy, ISecureServerList
"""
ROUTER = """
@implementer(IRoutingPolicy)
@frozen
class Router:
    greeting: str = "hello"
    def route(self, request, context):
        return None
"""


@pytest.fixture(autouse=True)
def _own_import_state(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", sys.path.copy())
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("company"):
            del sys.modules[name]


def company(directory: Path, source: str) -> Path:
    """A site's own module beside its configuration, whose path is returned."""
    (directory / "company.py").write_text(HEAD + source)
    return directory / "sipmesh.toml"


def loaded(
    section: PolicySection, file: Path, *plugins: PolicyPlugin, interface: object = IRoutingPolicy
) -> object:
    return load_policy(section, interface, file, plugins)  # type: ignore[arg-type]


def only_problem(section: PolicySection, file: Path, *plugins: PolicyPlugin) -> Problem:
    with pytest.raises(ConfigurationError) as caught:
        loaded(section, file, *plugins)
    assert len(caught.value.problems) == 1, caught.value.problems
    return caught.value.problems[0]


# Finding --------------------------------------------------------------------------------------------------


def test_every_shipped_policy_is_installed_and_can_be_imported() -> None:
    found = installed_policies()
    assert found.warnings == ()
    assert {p.name: p.interface for p in found.policies if p.target.startswith("sipmesh_plugins.")} == {
        "server-list.static": ISecureServerList,
        "server-list.file": ISecureServerList,
        "federation.allow": IFederationPolicy,
        "federation.block": IFederationPolicy,
        "routing.registered": IRoutingPolicy,
        "routing.federated": IRoutingPolicy,
        "routing.static": IRoutingPolicy,
        "location.sqlite": ILocationStore,
        "users.sqlite": ICredentialsChecker,
    }
    for plugin in found.policies:
        assert plugin.interface.implementedBy(import_class(plugin.target, Path.cwd())), plugin.name
        assert Path(origin(plugin).rpartition(": ")[2]).is_file()


def test_a_shipped_policy_is_built_by_its_name(tmp_path: Path) -> None:
    section = PolicySection("server-list.static", "server_list[0]", {"names": ["fe1.a.example"]})
    policy = loaded(section, tmp_path / "x", *installed_policies().policies, interface=ISecureServerList)
    assert policy == StaticServerList(names=frozenset({"fe1.a.example"}))


def test_module_beside_the_configuration_needs_no_packaging(tmp_path: Path) -> None:
    file = company(tmp_path, ROUTER)
    policy = loaded(PolicySection("company:Router", "routing[0]", {"greeting": "moin"}), file)
    assert policy.greeting == "moin"  # type: ignore[attr-defined]


def test_module_beside_the_configuration_shadows_nothing(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise RuntimeError('shadowed')")
    with pytest.raises(Unfit, match="attrs class"):
        import_class("json:JSONDecoder", tmp_path)
    assert sys.path[-1] == str(tmp_path)


def test_unknown_name_gets_the_one_that_was_meant(tmp_path: Path) -> None:
    section = PolicySection("routing.registerd", "routing[0]")
    problem = only_problem(section, tmp_path / "x", *installed_policies().policies)
    assert problem.key == "routing[0].policy"
    assert problem.remedy == "did you mean 'routing.registered'?"
    assert "server-list" not in problem.expected


def test_policy_in_the_wrong_section_is_refused(tmp_path: Path) -> None:
    section = PolicySection("server-list.static", "routing[0]", {"names": []})
    problem = only_problem(section, tmp_path / "x", *installed_policies().policies)
    assert problem.expected == "a policy that provides IRoutingPolicy"
    assert problem.got == "server-list.static, which provides ISecureServerList"


def test_one_name_for_two_policies_is_refused(tmp_path: Path) -> None:
    plugins = [PolicyPlugin("routing.x", IRoutingPolicy, f"company:{name}", "") for name in ("A", "B")]
    problem = only_problem(PolicySection("routing.x", "routing[0]"), tmp_path / "x", *plugins)
    assert problem.got == "company:A, company:B"
    assert "module:Class" in problem.remedy


@pytest.mark.parametrize(
    ("source", "target", "got"),
    [
        ("", "company:Router", "AttributeError"),
        ("", "company2:Router", "ModuleNotFoundError"),
        ("import no_such_thing", "company:Router", "ModuleNotFoundError: No module named 'no_such_thing'"),
        ("def (", "company:Router", "SyntaxError"),
        ("raise RuntimeError('broken')", "company:Router", "RuntimeError: broken"),
        ("raise SystemExit(3)", "company:Router", "SystemExit: 3"),
        ("class Router: pass", "company:Router", "company:Router, which is none"),
        ("Router = 3", "company:Router", "company:Router, which is none"),
    ],
)
def test_what_cannot_be_imported_is_a_problem(tmp_path: Path, source: str, target: str, got: str) -> None:
    problem = only_problem(PolicySection(target, "routing[0]"), company(tmp_path, source))
    assert problem.key == "routing[0].policy"
    assert problem.got.startswith(got)
    assert problem.remedy


# Building -------------------------------------------------------------------------------------------------


class Mode(StrEnum):
    FAST = "fast"
    SAFE = "safe"


@frozen
class Hop:
    host: str
    port: int = 5061


@define
class Everything:
    """One attribute of each kind that a policy may have."""

    text: str
    number: int
    ratio: float = 1.0
    flag: bool = False
    path: Path | None = None
    uri: SipUri | None = None
    any_uri: Uri | None = None
    names: frozenset[str] = frozenset()
    hops: tuple[Hop, ...] = ()
    pair: tuple[str, int] = ("a", 1)
    table: dict[str, Hop] = field(factory=dict)
    mode: Mode = Mode.SAFE
    level: Literal["low", "high"] = "low"
    either: int | str = 0
    _private: int = 0
    secret: str = field(default="", repr=False)
    state: object = field(default=None, init=False)
    call: type[int] = int


def built(**keys: object) -> Everything:
    return structure(
        {"text": "t", "number": 1} | keys, Everything, Path("/etc/sipmesh/sipmesh.toml"), "routing[0]"
    )


def test_every_kind_of_attribute_is_built() -> None:
    policy = built(
        ratio=2,
        flag=True,
        path="partner.pem",
        uri="sips:edge.b.example",
        any_uri="tel:+49301234",
        names=["a", "b"],
        hops=[{"host": "h"}, {"host": "i", "port": 5}],
        pair=["x", 2],
        table={"k": {"host": "j"}},
        mode="fast",
        level="high",
        either="s",
        private=7,
        secret="s3cret",
    )
    assert (policy.ratio, type(policy.ratio)) == (2.0, float)
    assert policy.flag is True
    assert policy.path == Path("/etc/sipmesh/partner.pem")
    assert policy.uri == parse_sip_uri("sips:edge.b.example")
    assert policy.any_uri == TelUri("+49301234")
    assert policy.names == frozenset({"a", "b"})
    assert policy.hops == (Hop("h"), Hop("i", 5))
    assert policy.pair == ("x", 2)
    assert policy.table == {"k": Hop("j")}
    assert policy.mode is Mode.FAST
    assert (policy.level, policy.either, policy._private, policy.secret) == ("high", "s", 7, "s3cret")


@pytest.mark.parametrize(
    ("keys", "key", "expected"),
    [
        ({"text": 1}, "routing[0].text", "text"),
        ({"number": "1"}, "routing[0].number", "a whole number"),
        ({"number": True}, "routing[0].number", "a whole number"),
        ({"number": 1.0}, "routing[0].number", "a whole number"),
        ({"ratio": True}, "routing[0].ratio", "a number"),
        ({"flag": 1}, "routing[0].flag", "true or false"),
        ({"flag": "true"}, "routing[0].flag", "true or false"),
        ({"path": 3}, "routing[0].path", "the path of a file"),
        ({"uri": "edge.b.example"}, "routing[0].uri", "a sip or sips URI"),
        ({"uri": "tel:+49"}, "routing[0].uri", "a sip or sips URI"),
        ({"uri": 3}, "routing[0].uri", "a sip or sips URI"),
        ({"names": "ab"}, "routing[0].names", "a list, each text"),
        ({"names": ["a", 1]}, "routing[0].names[1]", "text"),
        ({"names": {"a": 1}}, "routing[0].names", "a list, each text"),
        ({"hops": {"host": "h"}}, "routing[0].hops", "a list, each a table"),
        ({"hops": ["h"]}, "routing[0].hops[0]", "a table"),
        ({"hops": [{"host": "h"}, {}]}, "routing[0].hops[1].host", "text"),
        ({"hops": [{"host": "h", "port": "1"}]}, "routing[0].hops[0].port", "a whole number"),
        ({"hops": [{"host": "h", "prot": 1}]}, "routing[0].hops[0].prot", "one of host, port"),
        ({"pair": ["x"]}, "routing[0].pair", "a list of 2"),
        ({"pair": ["x", "y"]}, "routing[0].pair[1]", "a whole number"),
        ({"table": []}, "routing[0].table", "a table"),
        ({"table": {"k": {"host": 1}}}, "routing[0].table.k.host", "text"),
        ({"mode": "FAST"}, "routing[0].mode", "one of 'fast', 'safe'"),
        ({"level": "hi"}, "routing[0].level", "one of 'low', 'high'"),
        ({"either": 1.5}, "routing[0].either", "a whole number or text"),
        ({"_private": 1}, "routing[0]._private", "one of text, number"),
        ({"state": 1}, "routing[0].state", "one of text, number"),
        ({"call": "x"}, "routing[0].call", "no such key"),
    ],
)
def test_what_does_not_fit_is_named(keys: dict[str, object], key: str, expected: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        built(**keys)
    assert [p.key for p in caught.value.problems] == [key]
    assert caught.value.problems[0].expected.startswith(expected)


def test_all_misfits_of_a_policy_come_in_one_run() -> None:
    with pytest.raises(ConfigurationError) as caught:
        structure({"numbr": 1, "hops": [{}, {"host": 1}]}, Everything, Path("/x"), "r")
    keys = {p.key for p in caught.value.problems}
    assert keys == {"r.text", "r.number", "r.numbr", "r.hops[0].host", "r.hops[1].host"}


def test_value_of_an_attribute_without_repr_is_never_shown() -> None:
    with pytest.raises(ConfigurationError) as caught:
        built(secret=["hunter2"])
    assert "hunter2" not in str(caught.value)
    with pytest.raises(ConfigurationError) as caught:
        built(secret=123456789)
    assert "123456789" not in str(caught.value)
    assert "may be secret" in str(caught.value)


def test_what_a_validator_says_is_passed_on_with_its_key() -> None:
    @frozen
    class Checked:
        count: int = field(validator=validators.in_([1, 2]))
        url: str = field(default="", validator=validators.in_(["", "x"]), repr=False)

    with pytest.raises(ConfigurationError) as caught:
        structure({"count": 3}, Checked, Path("/x"), "routing[0]")
    (problem,) = caught.value.problems
    assert problem.key == "routing[0].count"
    assert "must be in [1, 2]" in problem.got
    with pytest.raises(ConfigurationError) as caught:
        structure({"count": 1, "url": "postgres://u:hunter2@h"}, Checked, Path("/x"), "routing[0]")
    assert caught.value.problems[0].key == "routing[0].url"
    assert "hunter2" not in str(caught.value)


def test_what_the_class_itself_says_is_passed_on(tmp_path: Path) -> None:
    source = ROUTER + "    def __attrs_post_init__(self):\n        raise ValueError('no greeting today')\n"
    problem = only_problem(PolicySection("company:Router", "routing[0]"), company(tmp_path, source))
    assert problem.key == "routing[0]"
    assert "no greeting today" in problem.got


def test_class_with_secrets_says_only_that_it_refuses(tmp_path: Path) -> None:
    source = (
        ROUTER.replace('greeting: str = "hello"', 'password: str = field(default="", repr=False)')
        + "    def __attrs_post_init__(self):\n        raise ValueError('wrong: ' + self.password)\n"
    )
    section = PolicySection("company:Router", "routing[0]", {"password": "hunter2"})
    problem = only_problem(section, company(tmp_path, source))
    assert "hunter2" not in str(problem)
    assert "ValueError" in problem.got


def test_annotation_that_nobody_imported_is_explained(tmp_path: Path) -> None:
    source = "from __future__ import annotations\n" + HEAD + ROUTER.replace("str", "Nowhere")
    (tmp_path / "company.py").write_text(source)
    problem = only_problem(PolicySection("company:Router", "routing[0]"), tmp_path / "sipmesh.toml")
    assert "Nowhere" in problem.remedy


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (str, "text"),
        (int | None, "a whole number"),
        (tuple[str, ...], "a list, each text"),
        (tuple[str, int], "a list of 2 (text, a whole number)"),
        (list[Hop], "a list, each a table"),
        (dict[str, int], "a table"),
        (Mode, "one of 'fast', 'safe'"),
        (Uri, "a URI"),
    ],
)
def test_types_are_described_in_plain_words(kind: object, text: str) -> None:
    assert described(kind) == text


# Verifying ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "got"),
    [
        ("@implementer(IRoutingPolicy)\n@frozen\nclass Router:\n    pass", "one without route"),
        (ROUTER.replace("self, request, context", "self"), "a method route that differs"),
        (
            ROUTER.replace("@implementer(IRoutingPolicy)\n", ""),
            "one that doesn't say so (@implementer(IRoutingPolicy)",
        ),
        (
            ROUTER.replace("@implementer(IRoutingPolicy)", "@implementer(ISecureServerList)"),
            "one that doesn't say so",
        ),
    ],
)
def test_broken_promise_names_policy_file_and_method(tmp_path: Path, source: str, got: str) -> None:
    problem = only_problem(PolicySection("company:Router", "routing[0]"), company(tmp_path, source))
    assert problem.key == "routing[0]"
    assert problem.expected == "company:Router to provide IRoutingPolicy"
    assert problem.got.startswith(got)
    assert problem.remedy == f"class Router in {tmp_path / 'company.py'}"


def test_every_missing_method_is_named(tmp_path: Path) -> None:
    source = "@implementer(ISecureServerList)\n@frozen\nclass Servers:\n    pass"
    with pytest.raises(ConfigurationError) as caught:
        loaded(PolicySection("company:Servers", "s"), company(tmp_path, source), interface=ISecureServerList)
    assert {p.got for p in caught.value.problems} == {"one without recognise", "one without reach"}


# All of a configuration -----------------------------------------------------------------------------------

WHOLE = """
[server]
name = "fe1.a.example"
domains = ["a.example"]
[tls]
certificate = "fe1.pem"
key = "fe1.key"
[trust]
enterprise = ["ca.pem"]
[[listen]]
endpoint = "tcp:5061"
peers = "both"
"""


def test_policies_of_a_configuration_keep_their_order(tmp_path: Path) -> None:
    file = company(tmp_path, ROUTER)
    file.write_text(
        WHOLE
        + """
        [users]
        policy = "users.sqlite"
        database = "users.db"
        [location]
        policy = "location.sqlite"
        database = "location.db"
        [[server_list]]
        policy = "server-list.static"
        names = ["fe1.a.example"]
        [[federation]]
        policy = "federation.block"
        domains = ["bad.example"]
        [[federation]]
        policy = "federation.allow"
        [[federation.partners]]
        domain = "b.example"
        ca = "b.pem"
        next_hop = "sips:edge.b.example"
        [[routing]]
        policy = "company:Router"
        [[routing]]
        policy = "routing.registered"
        """
    )
    policies = load_policies(load(file))
    names = [type(p).__name__ for p in (*policies.server_lists, *policies.federation, *policies.routing)]
    assert names == ["StaticServerList", "BlockList", "AllowList", "Router", "RegisteredUsers"]
    assert policies.federation[1].partners[0].ca == tmp_path / "b.pem"  # type: ignore[attr-defined]
    assert ICredentialsChecker.providedBy(policies.users)
    assert ILocationStore.providedBy(policies.locations)


def test_wrong_policies_are_all_found_in_one_run(tmp_path: Path) -> None:
    file = company(tmp_path, "")
    file.write_text(
        WHOLE
        + """
        [location]
        policy = "location.sqlite"
        databse = "location.db"
        [[federation]]
        policy = "federation.allow"
        partners = [{domain = "b.example"}]
        [[routing]]
        policy = "company:Router"
        """
    )
    with pytest.raises(ConfigurationError) as caught:
        load_policies(load(file))
    assert {p.key for p in caught.value.problems} == {
        "location.database",
        "location.databse",
        "federation[0].partners[0].ca",
        "routing[0].policy",
    }


# Other packages' plug-ins ---------------------------------------------------------------------------------

LOOK = """
import json
from sipmesh.server.installed import installed_policies
from twisted.logger import globalLogBeginner
globalLogBeginner.beginLoggingTo((), redirectStandardIO=False)
found = installed_policies()
print(json.dumps([[p.name for p in found.policies], found.warnings]))
"""


def look(*paths: Path) -> tuple[list[str], list[str], str]:
    """What a process finds that has these directories on its path."""
    path = os.pathsep.join([*map(str, paths), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", LOOK],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"PYTHONPATH": path},
        check=True,
    )
    names, warnings = json.loads(done.stdout)
    return names, warnings, done.stderr


def plugin_package(directory: Path, source: str) -> Path:
    plugins = directory / "twisted" / "plugins"
    plugins.mkdir(parents=True)
    (plugins / "company_plugin.py").write_text(source)
    return directory


GOOD_PLUGIN = """
from sipmesh.decisions import PolicyPlugin
from sipmesh.interfaces import IRoutingPolicy
company = PolicyPlugin("routing.company", IRoutingPolicy, "company:Router", "our own")
"""


def test_third_party_plugin_is_found(tmp_path: Path) -> None:
    names, warnings, _ = look(plugin_package(tmp_path, GOOD_PLUGIN))
    assert "routing.company" in names
    assert warnings == []


@pytest.mark.parametrize("source", ["raise RuntimeError('broken')", "import no_such_thing", "def ("])
def test_broken_third_party_plugin_is_a_warning_and_stops_no_other(tmp_path: Path, source: str) -> None:
    names, warnings, stderr = look(plugin_package(tmp_path, source))
    assert "routing.registered" in names
    assert len(warnings) == 1
    assert str(tmp_path / "twisted" / "plugins" / "company_plugin.py") in warnings[0]
    assert "Traceback" not in stderr


def test_install_that_cannot_be_written_is_looked_at_in_silence(tmp_path: Path) -> None:
    package = plugin_package(tmp_path, GOOD_PLUGIN)
    # A directory in its place keeps the cache from being written, even for root.
    (package / "twisted" / "plugins" / "dropin.cache").mkdir()
    names, warnings, stderr = look(package)
    assert "routing.company" in names
    assert warnings == []
    assert stderr == ""
