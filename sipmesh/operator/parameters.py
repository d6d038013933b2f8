"""What is given on the command line, checked before anything is done."""

from __future__ import annotations

from pathlib import Path

import click

from ..server.problems import Unfit
from ..server.rules import HostName
from ..sip import SipSyntaxError, SipUri, parse_sip_uri

DIRECTORY = click.Path(file_okay=False, path_type=Path)

config_option = click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("sipmesh.toml"),
    show_default=True,
    help="The server's configuration.",
)


def name(value: str) -> str:
    """A DNS name; it comes out as names are compared: lower case, A-labels, no trailing dot.

    :raises click.BadParameter: if it is none.
    """
    try:
        return str(HostName().check(value))
    except Unfit as e:
        raise click.BadParameter(f"{value!r} is not {e.expected}: {e.remedy}") from e


def aor(value: str) -> SipUri:
    """An address of record: ``alice@a.example``, with or without ``sip:``.

    :raises click.BadParameter: if it is none.
    """
    try:
        uri = parse_sip_uri(value if value.startswith(("sip:", "sips:")) else f"sip:{value}")
    except SipSyntaxError as e:
        # Not the parser's own words: a slip of the hand may have put a password there.
        raise click.BadParameter("not an address of record such as alice@a.example") from e
    if uri.user is None or uri.password is not None or uri.params or uri.headers is not None or uri.port:
        raise click.BadParameter("an address of record is user and domain alone, such as alice@a.example")
    return uri
