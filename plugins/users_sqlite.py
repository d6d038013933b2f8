"""Users from an SQLite file, as a twisted.cred checker. :mod:`.users_database` is what fills it."""

from __future__ import annotations

import secrets
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from attrs import define, field
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.error import UnauthorizedLogin
from twisted.enterprise.adbapi import ConnectionPool, Transaction
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorCore
from zope.interface import implementer

from sipmesh.interfaces import ILifecycle, ISipDigestCredentials
from sipmesh.sip.digest import MD5, SHA_256

from .users_database import open_uri, verify_version

_T = TypeVar("_T")

# Which column to read is picked from here, never made from what came from the network.
_LOOK_UP = {
    SHA_256: "SELECT domain, ha1_sha256 FROM users WHERE username = ? AND realm = ?",
    MD5: "SELECT domain, ha1_md5 FROM users WHERE username = ? AND realm = ?",
}
# What an unknown user's response is checked against, so that it takes as long as a known one's.
_NOBODY = secrets.token_hex(32)


class _Pool(Protocol):
    """What is used of a ConnectionPool, which has no annotations of its own."""

    def runInteraction(self, interaction: Callable[..., _T], *args: object) -> Deferred[_T]: ...

    def close(self) -> None: ...


_connection_pool: Callable[..., _Pool] = ConnectionPool


@implementer(ICredentialsChecker, ILifecycle)
@define(eq=False)
class SqliteUsers:
    """Checks digest responses against an SQLite file, in threads of its own.

    :ivar database: the file, as ``sipmesh user add`` makes it.
    """

    credentialInterfaces: ClassVar[tuple[type[ISipDigestCredentials], ...]] = (ISipDigestCredentials,)

    database: Path
    _pool: _Pool | None = field(default=None, init=False, repr=False)

    async def start(self, reactor: IReactorCore) -> None:
        """Open the file. Done once the reactor runs.

        :raises FileNotFoundError: if it is missing.
        :raises PermissionError: if everybody may read it.
        :raises ValueError: if it is no user database, or one of another version.
        """
        path = self.database
        if not path.exists():
            raise FileNotFoundError(f"there is no user database at {path}; make it with `sipmesh user add`")
        if path.stat().st_mode & stat.S_IRWXO:
            raise PermissionError(
                f"{path} is open to every user of this machine; close it: chmod o-rwx {path}"
            )
        pool = _connection_pool(
            "sqlite3",
            open_uri(path),
            uri=True,
            check_same_thread=False,  # the pool closes its threads' connections from the reactor's
            cp_min=1,
            cp_max=2,
            cp_reactor=reactor,
        )
        self._pool = pool
        try:
            verify_version(await pool.runInteraction(_version), path)
        except BaseException as error:
            self.stop()
            if isinstance(error, sqlite3.DatabaseError):
                raise ValueError(f"{path} can't be used as a user database: {error}") from error
            raise

    def stop(self) -> None:
        """Close the file and end the threads."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes | tuple[()]]:
        """The user whose response this is, as ``user@domain``.

        Who is not known, or not for this algorithm, takes the way of who is: look up, hash, refuse.

        :raises UnauthorizedLogin: in the Deferred, if it is nobody's.
        :raises sqlite3.Error: in the Deferred, if the file can't be read.
        """
        return Deferred.fromCoroutine(self._avatar_id(credentials))

    async def _avatar_id(self, credentials: Any) -> bytes | tuple[()]:
        if self._pool is None:
            raise RuntimeError("the user database is not open")
        username: str = credentials.username.decode("utf-8")
        row = await self._pool.runInteraction(_row, credentials.algorithm, username, credentials.realm)
        domain, known = row if row is not None else (None, None)
        # May be a Deferred by its interface, and a Deferred is true whatever it will say.
        right = await maybeDeferred(credentials.checkHash, known or _NOBODY)
        if not right or known is None:
            raise UnauthorizedLogin
        return f"{username}@{domain}".encode()


def _version(transaction: Transaction) -> int:
    transaction.execute("PRAGMA user_version")
    (version,) = transaction.fetchone()
    return int(version)


def _row(
    transaction: Transaction, algorithm: str, username: str, realm: str
) -> tuple[str, str | None] | None:
    transaction.execute(_LOOK_UP[algorithm], (username, realm))
    row: tuple[str, str | None] | None = transaction.fetchone()
    return row
