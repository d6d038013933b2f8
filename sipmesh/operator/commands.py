"""The ``sipmesh`` command. Each subcommand stands in a file of its own and is added here."""

from __future__ import annotations

import click
from twisted.logger import globalLogBeginner

from .. import __version__
from .ca import ca
from .check import check
from .init import init
from .policies import policies
from .trace import trace
from .user import user


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="sipmesh")
def sipmesh() -> None:
    """Set up and look after a SipMesh server.

    \b
    To begin:
      sipmesh init /etc/sipmesh --name fe1.a.example --domain a.example
      cd /etc/sipmesh
      sipmesh user add alice@a.example
      sipmesh check
      twistd --nodaemon sipmesh

    Each command has its own --help.
    """


for _command in (init, ca, user, check, policies, trace):
    sipmesh.add_command(_command)


def main() -> None:
    """The entry point of the console script."""
    # What Twisted logs about a broken plug-in is told in our own words; until somebody takes the log, it goes
    # to stderr as a traceback.
    globalLogBeginner.beginLoggingTo((), redirectStandardIO=False)
    sipmesh(prog_name="sipmesh")
