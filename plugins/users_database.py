"""The file of the SQLite user database: its schema, and what an administrator does to it.

The functions block, and are for the command line; the server reads the file through :mod:`.users_sqlite`.
No password is stored, only what digest makes of one (``H(username:realm:password)``, RFC 7616 §3.4.2). That
is as good as the password within its realm, so the file is its owner's alone.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from attrs import frozen

from sipmesh.sip.digest import MD5, SHA_256, ha1

VERSION = 1
"""``PRAGMA user_version`` of a file that this code can read."""

_SCHEMA = """
CREATE TABLE users (
    username TEXT NOT NULL,
    domain TEXT NOT NULL,
    realm TEXT NOT NULL,
    ha1_sha256 TEXT NOT NULL,
    ha1_md5 TEXT,
    created_at INTEGER NOT NULL DEFAULT (CAST(strftime('%s', 'now') AS INTEGER)),
    PRIMARY KEY (username, realm)
) WITHOUT ROWID
"""

# A colon would let two users share a hash (H hashes "username:realm:password"), an "@" begins the domain.
_USERNAME = re.compile(r"[^\s:@\x00-\x1f\x7f]{1,255}")
_DOMAIN = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")


@frozen
class UserRecord:
    """A user as listed: nothing secret.

    :ivar algorithms: those that the user's clients may use.
    :ivar created_at: Unix time, seconds.
    """

    username: str
    domain: str
    realm: str
    algorithms: tuple[str, ...]
    created_at: int


def open_uri(path: Path) -> str:
    """What SQLite is to open: the file, and only if it is there."""
    return f"{path.absolute().as_uri()}?mode=rw"


def verify_version(version: int, path: Path) -> None:
    """Check that a file of this ``PRAGMA user_version`` is a user database that this code can read.

    :raises ValueError: if it is not, with what to do.
    """
    if version == 0:
        raise ValueError(f"{path} holds no users; add the first with `sipmesh user add`")
    if version != VERSION:
        raise ValueError(
            f"{path} is a user database of version {version}; this SipMesh reads version {VERSION}: "
            "run the SipMesh that wrote it, or add the users anew to another file"
        )


def create_schema(path: Path) -> None:
    """Make the file, readable and writable by its owner only, and the tables in it. What is there stays.

    :raises OSError: if the file can't be made.
    :raises ValueError: if the file is there and is something else.
    """
    with suppress(FileExistsError):
        # Made before SQLite sees it: so it is at no time open to others, nor are the files beside it.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    with _opened(path) as connection:
        # The lock comes before the look: two first `user add` at once do not collide.
        connection.execute("BEGIN IMMEDIATE")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if version == 0 and tables == 0:
            connection.execute(_SCHEMA)
            connection.execute(f"PRAGMA user_version = {VERSION}")
        else:
            verify_version(version, path)
        connection.commit()
        connection.execute("PRAGMA journal_mode = WAL")


def add_user(path: Path, username: str, domain: str, realm: str, password: str, *, md5: bool = False) -> None:
    """Add a user; the first one makes the file.

    :param username: what the client sends in its credentials, and the user part of the address of record.
    :param domain: the domain of the address of record.
    :param realm: the realm that the server challenges with.
    :param md5: let clients in that know no SHA-256, too.
    :raises ValueError: if there is such a user in this realm, or a name is none.
    """
    domain = domain.lower().removesuffix(".")
    if _USERNAME.fullmatch(username) is None:
        raise ValueError(f"{username!r} is no user name: 1 to 255 characters without space, ':' and '@'")
    if _DOMAIN.fullmatch(domain) is None:
        raise ValueError(f"{domain!r} is no domain name")
    hashes = _hashes(username, realm, password, md5)
    create_schema(path)
    with _users_in(path) as connection:
        try:
            connection.execute(
                "INSERT INTO users (username, domain, realm, ha1_sha256, ha1_md5) VALUES (?, ?, ?, ?, ?)",
                (username, domain, realm, *hashes),
            )
        except sqlite3.IntegrityError:
            raise ValueError(f"there is a user {username!r} in the realm {realm!r} already") from None


def set_password(path: Path, username: str, realm: str, password: str, *, md5: bool = False) -> None:
    """Give a user another password; arguments as for :func:`add_user`.

    :raises LookupError: if there is no such user.
    """
    hashes = _hashes(username, realm, password, md5)
    with _users_in(path) as connection:
        changed = connection.execute(
            "UPDATE users SET ha1_sha256 = ?, ha1_md5 = ? WHERE username = ? AND realm = ?",
            (*hashes, username, realm),
        )
        _need_one(changed, username, realm)


def remove_user(path: Path, username: str, realm: str) -> None:
    """Remove a user.

    :raises LookupError: if there is no such user.
    """
    with _users_in(path) as connection:
        removed = connection.execute("DELETE FROM users WHERE username = ? AND realm = ?", (username, realm))
        _need_one(removed, username, realm)


def list_users(path: Path) -> list[UserRecord]:
    """All users, by realm and name."""
    with _users_in(path) as connection:
        rows = connection.execute(
            "SELECT username, domain, realm, ha1_md5 IS NOT NULL, created_at FROM users "
            "ORDER BY realm, username"
        )
        return [UserRecord(u, d, r, (SHA_256, MD5) if md5 else (SHA_256,), at) for u, d, r, md5, at in rows]


def _hashes(username: str, realm: str, password: str, md5: bool) -> tuple[str, str | None]:
    if not password or not realm:
        raise ValueError("neither password nor realm may be empty")
    return ha1(SHA_256, username, realm, password), ha1(MD5, username, realm, password) if md5 else None


def _need_one(cursor: sqlite3.Cursor, username: str, realm: str) -> None:
    if not cursor.rowcount:
        raise LookupError(f"there is no user {username!r} in the realm {realm!r}")


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    if not path.exists():
        raise FileNotFoundError(f"there is no user database at {path}; `sipmesh user add` makes it")
    try:
        with closing(sqlite3.connect(open_uri(path), uri=True, isolation_level=None)) as connection:
            # An old hash is overwritten, not merely unlinked: its password may well be in use elsewhere.
            connection.execute("PRAGMA secure_delete = ON")
            yield connection
    except sqlite3.DatabaseError as error:
        raise ValueError(f"{path} can't be used as a user database: {error}") from error


@contextmanager
def _users_in(path: Path) -> Iterator[sqlite3.Connection]:
    with _opened(path) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        verify_version(version, path)
        connection.execute("BEGIN IMMEDIATE")
        yield connection
        connection.commit()
