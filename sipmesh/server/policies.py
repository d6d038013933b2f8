"""From a section of the configuration to a policy: found by name, built, held to its interface."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import attrs
from attrs import field, frozen
from twisted.cred.checkers import ICredentialsChecker
from zope.interface import Interface
from zope.interface.exceptions import (
    BrokenImplementation,
    BrokenMethodImplementation,
    DoesNotImplement,
    Invalid,
)
from zope.interface.interface import InterfaceClass
from zope.interface.verify import verifyObject

from ..decisions import PolicyPlugin
from ..interfaces import IFederationPolicy, ILocationStore, IRoutingPolicy, ISecureServerList
from .configuration import PYTHON, Configuration, PolicySection
from .installed import installed_policies
from .problems import ConfigurationError, Problem, Unfit
from .structuring import structure

_INTERFACES: dict[str, InterfaceClass] = {
    "server_list": ISecureServerList,
    "federation": IFederationPolicy,
    "routing": IRoutingPolicy,
    "users": ICredentialsChecker,
    "location": ILocationStore,
}


@frozen
class Policies:
    """The policies of a server, built, not yet started.

    :ivar server_lists: in the order in which they are asked; likewise the others.
    :ivar users: None on a server that has no users.
    :ivar locations: None on a server that registers nobody.
    :ivar routing_names: what the trace and the log call the routing policies, one by one; by default each by
        its class.
    """

    server_lists: tuple[ISecureServerList, ...] = ()
    federation: tuple[IFederationPolicy, ...] = ()
    routing: tuple[IRoutingPolicy, ...] = ()
    users: ICredentialsChecker | None = None
    locations: ILocationStore | None = None
    routing_names: tuple[str, ...] = field()

    @routing_names.default
    def _class_names(self) -> tuple[str, ...]:
        return tuple(type(policy).__qualname__ for policy in self.routing)

    def verify(self) -> Iterator[Problem]:
        """Hold each to its interface, as those that a configuration names are when they are built."""
        parts = {
            "server_list": self.server_lists,
            "federation": self.federation,
            "routing": self.routing,
            "users": () if self.users is None else (self.users,),
            "location": () if self.locations is None else (self.locations,),
        }
        for key, policies in parts.items():
            for policy in policies:
                name = type(policy).__qualname__
                yield from _breaches(_INTERFACES[key], policy, name, PYTHON, key)


def load_policies(configuration: Configuration) -> Policies:
    """Build every policy that the configuration names. None is started: nothing is opened.

    :raises ConfigurationError: with what is wrong with any of them.
    """
    sections = {name: getattr(configuration, name) for name in _INTERFACES}
    policies, problems = build_policies(sections, configuration.file)
    if problems:
        raise ConfigurationError(problems)
    return policies


def build_policies(
    sections: Mapping[str, PolicySection | tuple[PolicySection, ...] | None], file: Path
) -> tuple[Policies, tuple[Problem, ...]]:
    """Build the policies that can be built, for who wants to look further although something is wrong.

    :param sections: by the names of :class:`Configuration`'s attributes.
    """
    plugins = installed_policies().policies
    problems: list[Problem] = []

    def built(name: str) -> list[tuple[str, Any]]:
        found = sections[name]
        policies = []
        for section in found if isinstance(found, tuple) else [found] if found else []:
            try:
                policies.append((section.policy, load_policy(section, _INTERFACES[name], file, plugins)))
            except ConfigurationError as e:
                problems.extend(e.problems)
        return policies

    def alone(name: str) -> Any:
        return next((policy for _, policy in built(name)), None)

    routing = built("routing")
    policies = Policies(
        server_lists=tuple(policy for _, policy in built("server_list")),
        federation=tuple(policy for _, policy in built("federation")),
        routing=tuple(policy for _, policy in routing),
        routing_names=tuple(name for name, _ in routing),
        users=alone("users"),
        locations=alone("location"),
    )
    return policies, tuple(problems)


def load_policy(
    section: PolicySection, interface: InterfaceClass, file: Path, plugins: Sequence[PolicyPlugin]
) -> object:
    """Build one policy and verify that it provides its interface.

    :param interface: what its section asks of it.
    :param file: the configuration file. Modules beside it can be named as ``module:Class``.
    :param plugins: the installed policies, from :func:`.installed_policies`.
    :raises ConfigurationError: if there is no such policy, its keys don't fit, or it breaks its interface.
    """
    with _problems_at(section, file):
        target = _target(section.policy, interface, plugins)
        cls = import_class(target, file.parent)
    policy = structure(dict(section.keys), cls, file, section.key)
    problems = tuple(_breaches(interface, policy, section.policy, file, section.key))
    if problems:
        raise ConfigurationError(problems)
    return policy


@contextmanager
def _problems_at(section: PolicySection, file: Path) -> Iterator[None]:
    try:
        yield
    except Unfit as e:
        raise ConfigurationError(
            [Problem(file, f"{section.key}.policy", e.expected, str(e.got), e.remedy)]
        ) from e


# Finding --------------------------------------------------------------------------------------------------


def _target(name: str, interface: InterfaceClass, plugins: Iterable[PolicyPlugin]) -> str:
    """``module:Class`` for the name of a policy.

    :raises Unfit: if it is not installed, plays another part, or two packages call theirs so.
    """
    if ":" in name:
        return name
    named = {plugin.target: plugin for plugin in plugins if plugin.name == name}
    if len(named) > 1:
        raise Unfit(f"one installed policy called {name}", ", ".join(named), "name it as module:Class")
    for plugin in named.values():
        if not plugin.interface.isOrExtends(interface):
            raise Unfit(
                f"a policy that provides {interface.__name__}",
                f"{name}, which provides {plugin.interface.__name__}",
                "put it in the section for which it is made",
            )
        return plugin.target
    fitting = [plugin.name for plugin in plugins if plugin.interface.isOrExtends(interface)]
    close = get_close_matches(name, fitting, 1)
    remedy = f"did you mean {close[0]!r}?" if close else "install its package, or name it as module:Class"
    raise Unfit(f"an installed policy (one of {', '.join(sorted(fitting)) or 'none'})", repr(name), remedy)


def import_class(target: str, directory: Path) -> type[Any]:
    """Import ``module:Class``; a module may stand in the directory of the configuration.

    :raises Unfit: if that fails, whatever the module does when it is imported, or if it is no attrs class.
    """
    # At the end: a file beside the configuration must not shadow what is installed.
    if str(directory) not in sys.path:
        sys.path.append(str(directory))
        importlib.invalidate_caches()
    module, _, name = target.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for step in name.split("."):
            found = getattr(found, step)
    except (Exception, SystemExit) as e:
        loaded = getattr(sys.modules.get(module), "__file__", None)
        remedy = f"{module} is {loaded}" if loaded else f"is the module installed, or in {directory}?"
        raise Unfit(f"that {target} can be imported", f"{type(e).__name__}: {e}", remedy) from e
    if not isinstance(found, type) or not attrs.has(found):
        raise Unfit(
            "an attrs class", f"{target}, which is none", "decorate it with @attrs.frozen or @attrs.define"
        )
    return found


# Verifying ------------------------------------------------------------------------------------------------


def _breaches(
    interface: InterfaceClass, policy: object, name: str, file: Path, key: str
) -> Iterator[Problem]:
    """In which ways an object doesn't provide an interface, without its ``repr``."""
    try:
        verifyObject(_as_type(interface), policy)
    except Invalid as e:
        expected, where = f"{name} to provide {interface.__name__}", _where(type(policy))
        # Several come as one MultipleInvalid, which zope.interface does not type.
        for one in getattr(e, "exceptions", (e,)):
            yield Problem(file, key, expected, _breach(one, interface), where)


def _as_type(interface: InterfaceClass) -> type[Interface]:
    # The stubs type an interface as the class that its statement looks like; zope.interface as what it is.
    return interface  # type: ignore[return-value]


def _breach(error: Invalid, interface: InterfaceClass) -> str:
    match error:
        case BrokenMethodImplementation():
            name = getattr(error.method, "__name__", None) or str(error.method)
            return f"a method {name} that differs: {error.mess}"
        case BrokenImplementation():
            return f"one without {getattr(error.name, '__name__', None) or error.name}"
        case DoesNotImplement():
            return f"one that doesn't say so (@implementer({interface.__name__}) above the class)"
        case _:
            return type(error).__name__


def _where(cls: type[object]) -> str:
    try:
        file = inspect.getsourcefile(cls)
    except (TypeError, OSError):
        file = None
    return f"class {cls.__qualname__} in {file or cls.__module__}"
