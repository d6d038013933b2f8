"""``.. shipped-policies:: IRoutingPolicy``: the policies that come with SipMesh, by the interface they provide."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import attrs
from docutils import nodes
from rst import attribute_texts, prose, table
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from sipmesh.decisions import PolicyPlugin
from sipmesh.server.misfits import described
from twisted.plugins import sipmesh_plugin


class ShippedPolicies(SphinxDirective):
    """For each: its name in the configuration, its docstring, its keys."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Read the plug-ins and their classes."""
        found = [
            _policy(plugin)
            for plugin in vars(sipmesh_plugin).values()
            if isinstance(plugin, PolicyPlugin) and plugin.interface.__name__ == self.arguments[0]
        ]
        if not found:
            raise self.error(f"no policy provides {self.arguments[0]}")
        return self.parse_text_to_nodes("\n\n".join(found), allow_section_headings=True)


def _policy(plugin: PolicyPlugin) -> str:
    module, _, name = plugin.target.partition(":")
    cls = getattr(importlib.import_module(module), name)
    heading = f"``{plugin.name}``\n{'~' * (len(plugin.name) + 4)}"
    where = f":py:class:`!{module}.{name}`"
    rows = list(_rows(cls, ""))
    keys = table("24 30 46", ("Key", "What fits", "Meaning"), rows) if rows else "It has no keys."
    return f"{heading}\n\n{prose(cls)}\n\n{keys}\n\n{where}"


def _rows(cls: type[Any], prefix: str) -> Iterator[tuple[str, str, str]]:
    texts = attribute_texts(cls)
    for attribute in attrs.fields(attrs.resolve_types(cls)):
        if attribute.init:
            key = f"{prefix}{attribute.alias}"
            fits = described(attribute.type)
            if attribute.default is not attrs.NOTHING:
                fits += "; optional"
            yield f"``{key}``", fits, texts[attribute.name]
            for nested in _tables(attribute.type):
                yield from _rows(nested, f"{key}[].")


def _tables(kind: Any) -> list[type[Any]]:
    """The classes of the shipped policies that are tables within a key."""
    return [
        arg for arg in getattr(kind, "__args__", ()) if attrs.has(arg) and "sipmesh_plugins" in arg.__module__
    ]


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("shipped-policies", ShippedPolicies)
    return {"parallel_read_safe": True}
