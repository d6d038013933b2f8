"""``.. command-help:: init``: what ``sipmesh init --help`` says, so that the page can't say anything else."""

from __future__ import annotations

import click
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from sipmesh.operator.commands import sipmesh


class CommandHelp(SphinxDirective):
    """The help of a command, and of its subcommands; without an argument of ``sipmesh`` itself."""

    optional_arguments = 2

    def run(self) -> list[nodes.Node]:
        """Walk down to the command that the arguments name."""
        command: click.Command = sipmesh
        context = click.Context(sipmesh, info_name="sipmesh", terminal_width=100, max_content_width=100)
        for name in self.arguments:
            assert isinstance(command, click.Group)
            command = command.commands[name]
            context = click.Context(command, context, info_name=name)
        text = command.get_help(context)
        return [nodes.literal_block(text, text, language="text")]


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("command-help", CommandHelp)
    return {"parallel_read_safe": True}
