"""``sipmesh user``: the users in the SQLite file that the configuration names."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import click
from attrs import frozen
from twisted.cred.checkers import ICredentialsChecker

from sipmesh_plugins.users_database import add_user, list_users, remove_user, set_password
from sipmesh_plugins.users_sqlite import SqliteUsers

from ..server.configuration import Configuration
from ..server.installed import installed_policies
from ..server.loading import load
from ..server.policies import load_policy
from ..server.problems import ConfigurationError
from ..sip import SipUri
from . import parameters
from .parameters import config_option

password_option = click.option(
    "--password-stdin", is_flag=True, help="Take the password from the first line of standard input."
)


@click.group()
def user() -> None:
    """Add, list and remove users, and set their passwords.

    For users in an SQLite file (policy users.sqlite). A running server sees a change at once. Passwords are
    asked for, or read from standard input, never taken from the command line, where others could see them.
    The file holds none, only what digest authentication makes of them.
    """


@user.command()
@click.argument("aor", type=parameters.aor)
@config_option
@password_option
def add(aor: SipUri, config: Path, password_stdin: bool) -> None:
    """Add the user AOR, such as alice@a.example."""
    store = _Store.named_in(config)
    store.expect_domain(aor)
    password = _password(password_stdin)
    with _told():
        add_user(store.database, _username(aor), aor.domain, store.realm, password, md5=store.md5)
    click.echo(f"added {aor.aor}: user name {_username(aor)}, realm {store.realm}")


@user.command()
@click.argument("aor", type=parameters.aor)
@config_option
@password_option
def passwd(aor: SipUri, config: Path, password_stdin: bool) -> None:
    """Give the user AOR another password."""
    store = _Store.named_in(config)
    store.expect_user(aor)
    password = _password(password_stdin)
    with _told():
        set_password(store.database, _username(aor), store.realm, password, md5=store.md5)
    click.echo(f"{aor.aor} has a new password; connections that were proven with the old one stay up")


@user.command()
@click.argument("aor", type=parameters.aor)
@config_option
def remove(aor: SipUri, config: Path) -> None:
    """Remove the user AOR."""
    store = _Store.named_in(config)
    store.expect_user(aor)
    with _told():
        remove_user(store.database, _username(aor), store.realm)
    click.echo(
        f"removed {aor.aor}; connections that were proven stay up, and registrations until they expire"
    )


@user.command("list")
@config_option
def list_command(config: Path) -> None:
    """List the users: address of record, realm, algorithms, day of creation."""
    store = _Store.named_in(config)
    with _told():
        for record in list_users(store.database):
            day = datetime.fromtimestamp(record.created_at, UTC).date()
            algorithms = ",".join(record.algorithms)
            click.echo(f"sip:{record.username}@{record.domain}\t{record.realm}\t{algorithms}\t{day}")


@frozen
class _Store:
    """Where the configuration keeps its users.

    :ivar md5: whether MD5 is among the algorithms that the server challenges with.
    """

    database: Path
    realm: str
    md5: bool
    domains: tuple[str, ...]

    @classmethod
    def named_in(cls, file: Path) -> _Store:
        try:
            configuration = load(file)
            return cls._of(configuration)
        except ConfigurationError as e:
            raise click.ClickException(str(e)) from e

    @classmethod
    def _of(cls, configuration: Configuration) -> _Store:
        section, realm = configuration.users, configuration.realm
        if section is None or realm is None:
            raise click.ClickException(
                f"{configuration.file} has no [users] section: this server has no users"
            )
        plugins = installed_policies().policies
        policy = load_policy(section, ICredentialsChecker, configuration.file, plugins)
        if not isinstance(policy, SqliteUsers):
            raise click.ClickException(
                f"the users come from the policy {section.policy}; they are managed where it takes them from"
            )
        md5 = "MD5" in configuration.user_settings.algorithms
        return cls(policy.database, realm, md5, configuration.server.domains)

    def expect_domain(self, aor: SipUri) -> None:
        if aor.domain not in self.domains:
            raise click.ClickException(
                f"{aor.domain} is not a domain of this server ({', '.join(self.domains) or 'it has none'}); "
                "see server.domains in its configuration"
            )

    def expect_user(self, aor: SipUri) -> None:
        # A user name is unique in a realm; bob@b.example is still not to be taken for bob@a.example.
        with _told():
            known = {(u.username, u.domain, u.realm) for u in list_users(self.database)}
        if (_username(aor), aor.domain, self.realm) not in known:
            raise click.ClickException(f"there is no user {aor.aor} in the realm {self.realm}")


def _username(aor: SipUri) -> str:
    return aor.aor.removeprefix("sip:").rpartition("@")[0]


def _password(from_stdin: bool) -> str:
    if not from_stdin:
        return str(click.prompt("Password", hide_input=True, confirmation_prompt=True))
    password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise click.ClickException("no password on standard input")
    return password


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, LookupError) as e:
        raise click.ClickException(str(e)) from e
