"""``sipmesh check``: everything that is wrong with a server's setup, in one run, each with its remedy."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from sipmesh_plugins.location_sqlite import SqliteLocations
from sipmesh_plugins.users_database import list_users
from sipmesh_plugins.users_sqlite import SqliteUsers

from ..decisions import TrustAnchors
from ..server.installed import installed_policies
from ..server.loading import read
from ..server.policies import Policies, build_policies
from ..trust.anchors import AnchorSets
from .certificates import check_anchors, check_own, check_trusted
from .findings import Finding, error, unreadable, warning
from .parameters import config_option

_UNIX_PATH = 107
"""Bytes that the path of a Unix socket may have (sun_path of Linux, less the final NUL)."""


@click.command()
@config_option
def check(config: Path) -> None:
    """Check a server's setup: everything that is wrong, in one run, each with its remedy.

    Looked at are the configuration, the files that it names, key permissions, certificates (names, chain,
    purposes, expiry), policies, the CAs of partners, and databases. No port is opened, and a running server
    is not disturbed. Run it as the user that the server runs as: what that user may read and write counts.

    Exit status: 0 if there is no error (there may be warnings, such as a certificate that expires within 30
    days), 1 if there is one, 2 for a wrong command line.
    """
    for broken in installed_policies().warnings:
        click.echo(f"warning: {broken}", err=True)
    findings = list(check_all(config, datetime.now(UTC)))
    for finding in findings:
        click.echo(str(finding))
    errors = sum(not finding.warning for finding in findings)
    if findings:
        click.echo()
    click.echo(f"{config}: {_counted(errors, 'error')}, {_counted(len(findings) - errors, 'warning')}")
    if errors:
        raise SystemExit(1)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def check_all(file: Path, now: datetime) -> Iterator[Finding]:
    """Everything that is wrong. Blocks on files.

    :param now: with its time zone.
    """
    file = file.absolute()
    sections, problems = read(file)
    yield from map(Finding, problems)
    yield from _check_permissions(file)
    tls = sections["tls"]
    if tls is not None:
        yield from check_own(file, tls, sections["server"], now)
    if sections["trust"] is not None:
        yield from check_trusted(file, sections["trust"], tls, now)
    policies, problems = build_policies(sections, file)
    yield from map(Finding, problems)
    yield from _check_partners(file, policies, now)
    yield from _check_users(file, policies.users)
    yield from _check_locations(file, policies)
    yield from _check_paths(file, sections)


def _check_permissions(file: Path) -> Iterator[Finding]:
    """Who may write the configuration decides whom the server trusts and what code it runs."""
    for path in (file, file.parent):
        if path.exists():
            mode = path.stat().st_mode
            sticky = path.is_dir() and mode & stat.S_ISVTX
            if mode & stat.S_IWOTH and not sticky:
                got = f"{path} with the mode {stat.S_IMODE(mode):04o}"
                yield error(file, "", "that not everybody may write it", got, f"chmod o-w {path}")


def _check_partners(file: Path, policies: Policies, now: datetime) -> Iterator[Finding]:
    found: list[TrustAnchors] = []
    for i, policy in enumerate(policies.federation):
        key = f"federation[{i}]"
        try:
            anchors = tuple(policy.anchors())
        except OSError as e:
            yield unreadable(file, key, e)
        except Exception as e:  # whatever a third party's policy raises is its finding
            yield error(file, key, "usable CA certificates of partners", e, "give PEM certificates of CAs")
        else:
            found += anchors
            for one in anchors:
                yield from check_anchors(file, f"{key} ({one.name}, {one.origin})", one.certificates, now)
    try:
        AnchorSets(found)
    except ValueError as e:
        yield error(file, "federation", "anchor sets that are told apart", e, "name each partner once")


# Databases ------------------------------------------------------------------------------------------------


def _check_users(file: Path, users: object) -> Iterator[Finding]:
    if not isinstance(users, SqliteUsers):
        return
    key, path = "users.database", users.database
    try:
        listed = list_users(path)
        mode = path.stat().st_mode
    except (OSError, ValueError) as e:
        yield error(file, key, "a database of users", e, "`sipmesh user add` makes it with its first user")
        return
    if mode & stat.S_IRWXO:
        got = f"{path} with the mode {stat.S_IMODE(mode):04o}"
        yield error(file, key, "a file that only its owner may read", got, f"chmod o-rwx {path}")
    if not listed:
        yield warning(file, key, "users", f"none in {path}", "add the first with `sipmesh user add`")
    yield from _check_writable(file, key, path)


def _check_locations(file: Path, policies: Policies) -> Iterator[Finding]:
    users, locations = policies.users, policies.locations
    if isinstance(locations, SqliteLocations):
        if isinstance(users, SqliteUsers) and users.database == locations.database:
            # Each keeps the version of its own schema in the file's one user_version.
            expected, got = "a file of its own", f"that of the users, {users.database}"
            yield error(file, "location.database", expected, got, "choose another; the server makes it")
        yield from _check_writable(file, "location.database", locations.database)


def _check_writable(file: Path, key: str, path: Path) -> Iterator[Finding]:
    directory = path.parent
    if not directory.is_dir() or not os.access(directory, os.W_OK | os.X_OK):
        got = "it can't be written" if directory.is_dir() else "there is none"
        remedy = f"make it, or let the server's user write it: {directory}"
        yield error(
            file, key, f"the directory {directory}, for the database and its log beside it", got, remedy
        )
    elif path.exists():
        try:
            with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)) as connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.rollback()
        except sqlite3.Error as e:
            got = f"{path}: {e}"
            yield error(
                file, key, "an SQLite database that can be written", got, "correct the path or the owner"
            )


# Other files ----------------------------------------------------------------------------------------------


def _check_paths(file: Path, sections: dict[str, Any]) -> Iterator[Finding]:
    resolver, trace = sections["resolver"], sections["trace"]
    if resolver is not None and resolver.hosts is not None:
        try:
            resolver.hosts.read_bytes()
        except OSError as e:
            yield unreadable(file, "resolver.hosts", e)
    if trace is not None and trace.socket is not None:
        socket: Path = trace.socket
        if not socket.parent.is_dir() or not os.access(socket.parent, os.W_OK | os.X_OK):
            yield error(
                file,
                "trace.socket",
                "a directory that can be written",
                socket.parent,
                f"mkdir -m 700 {socket.parent}",
            )
        if len(os.fsencode(socket)) > _UNIX_PATH:
            got = f"{len(os.fsencode(socket))} bytes: {socket}"
            yield error(
                file, "trace.socket", f"a path of at most {_UNIX_PATH} bytes", got, "choose a shorter one"
            )
