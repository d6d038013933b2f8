"""``.. configuration-keys::``: every section of ``sipmesh.toml``, read from the classes that check it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
from docutils import nodes
from rst import attribute_texts, prose, table
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from sipmesh.server.configuration import Limits, Listen, Registrar, Resolver, Server, Tls, Trace, Trust, Users
from sipmesh.server.misfits import described

SECTIONS = (Server, Tls, Trust, Listen, Users, Registrar, Resolver, Limits, Trace)


class ConfigurationKeys(SphinxDirective):
    """A table for each section: key, what fits, default, meaning."""

    def run(self) -> list[nodes.Node]:
        """Read the classes."""
        return self.parse_text_to_nodes("\n\n".join(map(_section, SECTIONS)), allow_section_headings=True)


def _section(cls: type[Any]) -> str:
    # The heading says which section it is; the docstring begins with that, too.
    text = re.sub(r"^``\[+\w+\]+``: (\w)", lambda found: found[1].upper(), prose(cls))
    heading = "[[listen]]" if cls is Listen else f"[{cls.__name__.lower()}]"
    return f"``{heading}``\n{'~' * (len(heading) + 4)}\n\n{text}\n\n" + table(
        "16 30 16 38", ("Key", "What fits", "Default", "Meaning"), _rows(cls)
    )


def _rows(cls: type[Any]) -> Iterator[tuple[str, str, str, str]]:
    texts = attribute_texts(cls)
    for attribute in attrs.fields(attrs.resolve_types(cls)):
        meaning = texts[attribute.name].removesuffix(" Required.").removesuffix("Required, ")
        yield f"``{attribute.alias}``", described(attribute.type), _default(attribute.default), meaning


def _default(value: object) -> str:
    if value is attrs.NOTHING:
        return "**required**"
    if value is None:
        return "none"
    return f"``{json.dumps(value, default=_path)}``"


def _path(value: object) -> str:
    assert isinstance(value, Path)
    return str(value)


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("configuration-keys", ConfigurationKeys)
    return {"parallel_read_safe": True}
