"""``.. zope-interface:: IRoutingPolicy``: an interface of :mod:`sipmesh.interfaces` with its annotations.

autodoc takes an interface for an instance of some class, and zope.interface keeps no annotations: so the source is
read.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator

from docutils import nodes
from rst import indented
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from sipmesh import decisions, interfaces, sip


class ZopeInterface(SphinxDirective):
    """The interface's docstring, its attributes and methods, in the order of the source."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Read the source."""
        self.env.note_dependency(interfaces.__file__)
        return self.parse_text_to_nodes(_interface(self.arguments[0]))


def _interface(name: str) -> str:
    tree = ast.parse(inspect.getsource(interfaces))
    [found] = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name]
    base = ast.unparse(found.bases[0])
    more = "" if base == "Interface" else f"Extends ``{base}``.\n\n"
    members = "\n\n".join(_members(found))
    text = f"{ast.get_docstring(found)}\n\n{more}{members}"
    return f".. py:class:: sipmesh.interfaces.{name}\n\n{indented(text)}\n"


def _members(interface: ast.ClassDef) -> Iterator[str]:
    for node in interface.body:
        if isinstance(node, ast.FunctionDef):
            node.args.args = [*map(_qualified_argument, node.args.args)]
            returns = f" -> {_qualified(node.returns)}" if node.returns else ""
            signature = f"{node.name}({ast.unparse(node.args)}){returns}"
            yield f".. py:method:: {signature}\n\n{indented(ast.get_docstring(node) or '')}"
        elif isinstance(node, ast.AnnAssign):
            assert isinstance(node.value, ast.Call)
            said = ast.literal_eval(node.value.args[0])
            kind = _qualified(node.annotation)
            yield f".. py:attribute:: {ast.unparse(node.target)}\n   :type: {kind}\n\n{indented(said)}"


def _qualified_argument(argument: ast.arg) -> ast.arg:
    if argument.annotation is not None:
        argument.annotation = ast.parse(_qualified(argument.annotation), mode="eval").body
    return argument


def _qualified(annotation: ast.expr) -> str:
    return ast.unparse(_Qualify().visit(annotation))


class _Qualify(ast.NodeTransformer):
    """Names of the contract with their module, so that Sphinx finds them."""

    def visit_Name(self, node: ast.Name) -> ast.expr:
        for module in (interfaces, decisions, sip):
            defined = (
                module is sip or getattr(getattr(module, node.id, None), "__module__", "") == module.__name__
            )
            if defined and hasattr(module, node.id):
                return ast.Name(f"{module.__name__}.{node.id}")
        return node


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("zope-interface", ZopeInterface)
    return {"parallel_read_safe": True}
