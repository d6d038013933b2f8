"""``sipmesh policies``: what is installed, from where, what each does, and its keys."""

from __future__ import annotations

import re
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path
from typing import Any

import attrs
import click

from ..decisions import PolicyPlugin
from ..server.installed import installed_policies, origin
from ..server.misfits import described
from ..server.policies import import_class
from ..server.problems import Unfit

_SECTIONS = {
    "ISecureServerList": "[[server_list]]",
    "IFederationPolicy": "[[federation]]",
    "IRoutingPolicy": "[[routing]]",
    "ICredentialsChecker": "[users]",
    "ILocationStore": "[location]",
}

# What Sphinx makes a link or code of, a terminal shows as it is.
_ROLE = re.compile(r"(?::[\w:]+:)?`+[.~]?([^`]+)`+")


@click.command()
def policies() -> None:
    """List the installed policies: where from, what for, and their keys with types and defaults.

    A policy of your own needs no installation: put its module beside the configuration and name it there as
    policy = "module:Class".
    """
    installed = installed_policies()
    for warning in installed.warnings:
        click.echo(f"warning: {warning}", err=True)
    for plugin in installed.policies:
        section = _SECTIONS.get(plugin.interface.__name__, plugin.interface.__name__)
        click.echo(f"{plugin.name}: {plugin.summary}")
        click.echo(f"    in {section}, provides {plugin.interface.__name__}")
        click.echo(f"    from {origin(plugin)}")
        for line in _keys(plugin):
            click.echo(f"    {line}")
        click.echo()


def _keys(plugin: PolicyPlugin) -> Iterator[str]:
    try:
        cls = import_class(plugin.target, Path.cwd())
    except Unfit as e:
        yield f"can't be used: {e.got}"
        return
    yield from _attributes(cls)


def _attributes(cls: type[Any], indent: str = "") -> Iterator[str]:
    texts = _documented(cls)
    for attribute in attrs.fields(attrs.resolve_types(cls)):
        if attribute.init:
            text = texts.get(attribute.name, "")
            yield f"{indent}{attribute.alias}: {described(attribute.type)}, {_default(attribute)}" + (
                f" — {text}" if text else ""
            )
            for nested in _tables_in(attribute.type):
                yield from _attributes(nested, indent + "    ")


def _default(attribute: attrs.Attribute[Any]) -> str:
    default: Any = attribute.default
    if default is attrs.NOTHING:
        return "required"
    if hasattr(default, "takes_self"):  # an attrs.Factory, which its stubs don't let one ask for
        return "optional" if default.takes_self else f"default {default.factory()!r}"
    return "optional" if default is None else f"default {default!r}"


def _tables_in(kind: Any) -> Iterator[type[Any]]:
    """The attrs classes of ours that a key's type holds: tables within the section."""
    if isinstance(kind, type) and attrs.has(kind) and not kind.__module__.startswith("sipmesh.sip"):
        yield kind
    for arg in getattr(kind, "__args__", ()):
        yield from _tables_in(arg)


def _documented(cls: type[Any]) -> dict[str, str]:
    """What the class's docstring says of its attributes: ``:ivar name: text``."""
    found = re.findall(r"^:ivar (\w+): (.*?)(?=^:|\Z)", cleandoc(cls.__doc__ or ""), re.DOTALL | re.MULTILINE)
    return {name: " ".join(_ROLE.sub(r"\1", text).split()) for name, text in found}
