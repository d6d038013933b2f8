"""``sipmesh ca``: a CA for an enterprise that has none, and certificates for its servers."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from . import parameters
from .authority import CA_DAYS, SERVER_DAYS, Credential, create_authority, issue
from .files import CA_CERTIFICATE, CA_KEY, read_authority, refuse_to_overwrite, write_credential
from .parameters import DIRECTORY


@click.group()
def ca() -> None:
    """Make an enterprise CA, and let it issue certificates for servers.

    The CA is two files in a directory: ca.pem, which every server of the enterprise trusts and every client
    may have, and ca.key, which must never leave the place where it is used. Who has ca.key can make a server
    that all others trust.
    """


@ca.command()
@click.option("--name", default="SipMesh enterprise CA", show_default=True, help="Its common name.")
@click.option(
    "--days", type=click.IntRange(1, 36500), default=CA_DAYS, show_default=True, help="Valid so long."
)
@click.option("--out", type=DIRECTORY, default=".", show_default=True, help="Where to; made if missing.")
def create(name: str, days: int, out: Path) -> None:
    """Make a CA: ca.pem and ca.key."""
    certificate, key = out / CA_CERTIFICATE, out / CA_KEY
    refuse_to_overwrite(certificate, key)
    out.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_credential(create_authority(name, datetime.now(UTC), days), certificate, key)
    click.echo(f"{certificate}: name it in [trust] enterprise of every server of yours")
    click.echo(f"{key}: keep it secret; `sipmesh ca issue` needs it and no server does")


@ca.command("issue")
@click.argument("name", type=parameters.name)
@click.option(
    "--san", "names", type=parameters.name, multiple=True, help="A further name or domain; may be repeated."
)
@click.option(
    "--days", type=click.IntRange(1, 3650), default=SERVER_DAYS, show_default=True, help="Valid so long."
)
@click.option(
    "--ca", "authority", type=DIRECTORY, default=".", show_default=True, help="Where ca.pem and ca.key are."
)
@click.option("--out", type=DIRECTORY, default=".", show_default=True, help="Where to; made if missing.")
def issue_command(name: str, names: tuple[str, ...], days: int, authority: Path, out: Path) -> None:
    """Issue a certificate for the server NAME: NAME.pem and NAME.key.

    A server that partners or clients look for by its domain must prove the domain: add --san a.example.
    """
    certificate, key = out / f"{name}.pem", out / f"{name}.key"
    refuse_to_overwrite(certificate, key)
    issuer = read_authority(authority)
    out.mkdir(mode=0o700, parents=True, exist_ok=True)
    credential = issued(issuer, (name, *names), days)
    write_credential(credential, certificate, key)
    until = credential.certificate.not_valid_after_utc.date()
    click.echo(f"{certificate}: valid until {until}; name it in [tls] certificate of {name}")
    click.echo(f"{key}: its key, for [tls] key; readable by its owner alone")


def issued(authority: Credential, names: tuple[str, ...], days: int = SERVER_DAYS) -> Credential:
    """A certificate from now on, for these names.

    :raises click.ClickException: if the CA has expired.
    """
    try:
        return issue(authority, tuple(dict.fromkeys(names)), datetime.now(UTC), days)
    except ValueError as e:
        raise click.ClickException(f"{e}; make a new one with `sipmesh ca create`") from e
