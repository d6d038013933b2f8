"""Read ``sipmesh.toml``: no port is opened, no policy imported; all that is wrong comes out at once."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from attrs import Attribute, define, field, fields

from .configuration import (
    Configuration,
    Limits,
    Listen,
    PolicySection,
    Registrar,
    Resolver,
    Server,
    Tls,
    Trace,
    Trust,
    Users,
)
from .misfits import unknown_key
from .problems import ConfigurationError, Problem, shown
from .rules import Printable, Some
from .structuring import structure

T = TypeVar("T")

_SECTIONS: dict[str, Any] = {
    "server": Server,
    "tls": Tls,
    "listen": Annotated[tuple[Listen, ...], Some()],
    "trust": Trust,
    "registrar": Registrar,
    "resolver": Resolver,
    "limits": Limits,
    "trace": Trace,
}
_POLICIES = ("server_list", "federation", "routing")
_KNOWN = (*_SECTIONS, "users", "location", *_POLICIES)
_POLICY_NAME = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*|[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


def load(file: Path) -> Configuration:
    """Read a configuration. Blocks on the file.

    :raises ConfigurationError: with everything that is wrong in it. What policies make of their keys comes
        later, in :func:`sipmesh.server.policies.load_policies`.
    """
    sections, problems = read(file)
    if problems:
        raise ConfigurationError(problems)
    return Configuration(file=file.absolute(), **sections)


def read(file: Path) -> tuple[dict[str, Any], tuple[Problem, ...]]:
    """Read what can be read, for who wants to look further although something is wrong.

    :return: by the names of :class:`Configuration`'s attributes, the sections that fit (None for each that
        doesn't), and what is wrong.
    """
    file = file.absolute()
    try:
        reader = _Reader(file, _parsed(file))
    except ConfigurationError as e:
        return dict.fromkeys((*_KNOWN, "user_settings")) | dict.fromkeys(_POLICIES, ()), e.problems
    sections = {name: reader.section(name, kind) for name, kind in _SECTIONS.items()}
    sections["user_settings"] = reader.user_settings()
    sections |= {name: reader.policy(name) for name in ("users", "location")}
    sections |= {name: reader.policies(name) for name in _POLICIES}
    reader.unknown_sections()
    return sections, (*reader.problems, *_conflicts(file, sections))


@define
class _Reader:
    """Takes one section after another out of a document; what is wrong gathers."""

    file: Path
    document: dict[str, Any]
    problems: list[Problem] = field(factory=list)

    def section(self, name: str, kind: Any) -> Any:
        """A section as its class; None if it doesn't fit."""
        absent: object = {} if isinstance(kind, type) else []
        return self._structured(self.document.get(name, absent), kind, name)

    def user_settings(self) -> Users | None:
        """What in ``[users]`` is not the policy's."""
        table = self.document.get("users")
        if not isinstance(table, dict):
            return Users()
        ours = {key: value for key, value in table.items() if key in _names(Users)}
        return self._structured(ours, Users, "users")

    def policy(self, name: str) -> PolicySection | None:
        """A section that names one policy."""
        if name not in self.document:
            return None
        return self._policy(self.document[name], name, ours=_names(Users) if name == "users" else ())

    def policies(self, name: str) -> tuple[PolicySection, ...]:
        """A section that stands as often as there are policies."""
        tables = self.document.get(name, [])
        if not isinstance(tables, list):
            self._refuse(
                name, "a list of tables", tables, f"write [[{name}]], one such section for each policy"
            )
            return ()
        found = (self._policy(table, f"{name}[{i}]") for i, table in enumerate(tables))
        return tuple(section for section in found if section is not None)

    def unknown_sections(self) -> None:
        """What nobody reads is not ignored: it may be a check that was meant to be made."""
        for name in self.document:
            if name not in _KNOWN:
                self.problems.append(unknown_key(self.file, name, name, _KNOWN))

    def _policy(self, table: object, key: str, ours: tuple[str, ...] = ()) -> PolicySection | None:
        if not isinstance(table, dict):
            self._refuse(key, "a table", table, f"write it as a section [{key}] of its own")
            return None
        name = table.get("policy")
        if not isinstance(name, str) or _POLICY_NAME.fullmatch(name) is None:
            self._refuse(
                f"{key}.policy",
                "the name of a policy, or module:Class",
                name,
                "`sipmesh policies` lists what is installed",
            )
            return None
        return PolicySection(name, key, {k: v for k, v in table.items() if k not in ("policy", *ours)})

    def _structured(self, value: object, into: type[T], key: str) -> T | None:
        try:
            return structure(value, into, self.file, key)
        except ConfigurationError as e:
            self.problems.extend(e.problems)
            return None

    def _refuse(self, key: str, expected: str, got: object, remedy: str) -> None:
        self.problems.append(Problem(self.file, key, expected, shown(got), remedy))


def _names(cls: type) -> tuple[str, ...]:
    attributes: tuple[Attribute[object], ...] = fields(cls)
    return tuple(attribute.name for attribute in attributes)


def _conflicts(file: Path, sections: Mapping[str, Any]) -> Iterator[Problem]:
    """Keys that fit each for itself and not together. Sections that don't fit at all are None here."""
    registrar, limits = sections["registrar"], sections["limits"]
    if registrar and not registrar.minimum <= registrar.default <= registrar.maximum:
        yield Problem(
            file,
            "registrar.default",
            f"a number from minimum to maximum, here {registrar.minimum} to {registrar.maximum}",
            shown(registrar.default),
        )
    if limits and limits.head > limits.message:
        yield Problem(
            file, "limits.head", f"at most limits.message, here {limits.message}", shown(limits.head)
        )
    if sections["trust"] and sections["server_list"] and not sections["trust"].enterprise:
        yield Problem(
            file,
            "trust.enterprise",
            "the CA certificates that vouch for the servers in [[server_list]]",
            "none",
            "without one no server is trusted: name the PEM file of your enterprise CA",
        )
    server, users = sections["server"], sections["user_settings"]
    if server and users and sections["users"] and not (users.realm or server.domains):
        yield Problem(
            file,
            "users.realm",
            Printable().expected,
            "nothing",
            "there is no domain in server.domains to take it from",
        )


# The file -------------------------------------------------------------------------------------------------


def _parsed(file: Path) -> dict[str, Any]:
    try:
        data = file.read_bytes()
    except OSError as e:
        remedy = "`sipmesh init` makes one" if isinstance(e, FileNotFoundError) else ""
        problem = Problem(file, "", "a file that can be read", e.strerror or str(e), remedy)
        raise ConfigurationError([problem]) from e
    try:
        return tomllib.loads(data.decode("utf-8"))
    except UnicodeDecodeError as e:
        line = data.count(b"\n", 0, e.start) + 1
        column = e.start - data.rfind(b"\n", 0, e.start)
        raise ConfigurationError([_syntax(file, line, column, "bytes that are no UTF-8")]) from e
    except (ValueError, RecursionError) as e:
        said, line, column = _placed(str(e))
        raise ConfigurationError([_syntax(file, line, column, said or type(e).__name__)]) from e


def _placed(message: str) -> tuple[str, int, int]:
    """What ``tomllib`` says, and where: before Python 3.14 the place is in the message alone."""
    m = re.fullmatch(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", message, re.DOTALL)
    return (m[1], int(m[2] or 0), int(m[3] or 0)) if m else (message, 0, 0)


def _syntax(file: Path, line: int, column: int, said: str) -> Problem:
    place = f"line {line}, column {column}" if line else ""
    remedy = 'text stands in quotes: name = "fe1.a.example"' if "Invalid value" in said else ""
    return Problem(file, place, "TOML", f"something else: {said}", remedy)
