"""Types of what is given on the command line, checked before anything is done."""

from __future__ import annotations

from pathlib import Path

import click

from ..server.problems import Unfit
from ..server.rules import HostName
from ..sip import SipSyntaxError, SipUri, parse_sip_uri


class DnsName(click.ParamType):
    """A DNS name; it comes out as names are compared: lower case, A-labels, no trailing dot."""

    name = "name"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """See :class:`click.ParamType`."""
        try:
            return str(HostName().check(value))
        except Unfit as e:
            self.fail(f"{value!r} is not {e.expected}: {e.remedy}", param, ctx)


class AddressOfRecord(click.ParamType):
    """``alice@a.example``, with or without ``sip:``."""

    name = "aor"

    def convert(
        self, value: str | SipUri, param: click.Parameter | None, ctx: click.Context | None
    ) -> SipUri:
        """See :class:`click.ParamType`."""
        if isinstance(value, SipUri):
            return value
        try:
            uri = parse_sip_uri(value if value.startswith(("sip:", "sips:")) else f"sip:{value}")
        except SipSyntaxError as e:
            self.fail(f"{value!r} is no address of record such as alice@a.example: {e.reason}", param, ctx)
        if uri.user is None or uri.password is not None or uri.params or uri.headers or uri.port:
            self.fail(
                "an address of record is a user and a domain and nothing else, such as alice@a.example",
                param,
                ctx,
            )
        return uri


DNS_NAME = DnsName()
AOR = AddressOfRecord()
DIRECTORY = click.Path(file_okay=False, path_type=Path)

config_option = click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("sipmesh.toml"),
    show_default=True,
    help="The server's configuration.",
)
