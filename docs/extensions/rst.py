"""What the extensions share: reStructuredText made from docstrings and tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from inspect import cleandoc

_IVAR = re.compile(r"^:ivar (\w+): (.*?)(?=^:|\Z)", re.DOTALL | re.MULTILINE)


def attribute_texts(cls: type[object]) -> dict[str, str]:
    """What a class's docstring says of its attributes: ``:ivar name: text``, on one line each."""
    found = _IVAR.findall(cleandoc(cls.__doc__ or ""))
    return {name: " ".join(text.split()) for name, text in found}


def prose(cls: type[object]) -> str:
    """A class's docstring up to its fields."""
    return re.split(r"^:", cleandoc(cls.__doc__ or ""), maxsplit=1, flags=re.MULTILINE)[0].rstrip()


def indented(text: str, by: int = 3) -> str:
    """Each line that holds something, moved in."""
    return "\n".join(" " * by + line if line.strip() else "" for line in text.splitlines())


def table(widths: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A ``list-table``; cells are reStructuredText of one line."""
    lines = [".. list-table::", f"   :widths: {widths}", "   :header-rows: 1", ""]
    for row in (header, *rows):
        lines += [f"   {'*' if i == 0 else ' '} - {cell}".rstrip() for i, cell in enumerate(row)]
    return "\n".join([*lines, ""])
