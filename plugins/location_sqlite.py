"""``location.sqlite``: the location service in a SQLite file, which several processes of a machine may share.

**What survives.** An update is answered when SQLite has committed it, in WAL mode with
``synchronous=FULL``. That it outlives the *process* (``kill -9`` at any moment) would need less: what was
written is in the kernel's hands, and a half-written transaction is passed over at the next start;
``synchronous=NORMAL`` does that. But NORMAL leaves the last commits to the kernel's leisure, and a *power
cut* takes them: a client that was told 200 could not be reached until it refreshes, and a contact that was
removed would ring again. FULL waits until the disk says that it has the log. To pay for that once and not
for each, all updates that come while one commit runs go into the next one together.

**Threads.** One writes, two read, none is the reactor's. SQLite lets one connection write at a time, so
more writers would only wait for each other; other processes are waited for up to ten seconds.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple

from attrs import asdict, define, field, frozen
from twisted.enterprise.adbapi import ConnectionPool
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorCore, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from zope.interface import implementer

from sipmesh.decisions import Binding, Bindings
from sipmesh.interfaces import ILifecycle, ILocationStore

_log = Logger()

_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        # As a blob: an AOR may hold whatever bytes somebody escaped in a URI, and no collation has a say.
        """CREATE TABLE bindings (
            aor BLOB NOT NULL,
            position INTEGER NOT NULL,
            expires_at REAL NOT NULL,
            binding TEXT NOT NULL,
            PRIMARY KEY (aor, position)
        ) WITHOUT ROWID""",
        "CREATE INDEX bindings_by_expiry ON bindings (expires_at)",
    ),
)
"""The n-th takes a file from schema version n to n + 1; ``PRAGMA user_version`` holds the version."""

_BUSY = 10.0
"""Seconds to wait for another process that writes."""

_TOGETHER = 100
"""Updates in one commit; others that share the file wait no longer than for these."""

_WAITING = 10_000
"""Updates that may wait for the disk; one more is refused."""

_PURGE_INTERVAL = 60.0
_PURGE_TOGETHER = 500

# In one statement, so that no other process comes between.
_VERSION = "SELECT user_version, EXISTS (SELECT 1 FROM sqlite_master) FROM pragma_user_version"
_SELECT = "SELECT expires_at, binding FROM bindings WHERE aor = ? AND expires_at > ? ORDER BY position"
_DELETE = "DELETE FROM bindings WHERE aor = ?"
_INSERT = "INSERT INTO bindings (aor, position, expires_at, binding) VALUES (?, ?, ?, ?)"
_PURGE = """DELETE FROM bindings WHERE (aor, position) IN
    (SELECT aor, position FROM bindings WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)"""


_Arguments = TypeVarTuple("_Arguments")
_Result = TypeVar("_Result")
_Outcome = Bindings | BaseException


class LocationsUnavailable(Exception):
    """The file can't be used, or not now; the message says why."""


@frozen
class _Update:
    aor: bytes
    change: Callable[[Bindings], Bindings]
    done: Deferred[Bindings] = field(factory=Deferred)


@implementer(ILocationStore, ILifecycle)
@define(eq=False)
class SqliteLocations:
    """The location service in a SQLite file.

    :ivar database: the file; made, readable by its owner only, where there is none. Beside it SQLite keeps
        two more, ``-wal`` and ``-shm``. Not on a network file system: WAL needs memory that all share.
    """

    database: Path
    _open: _Open | None = field(init=False, default=None, repr=False)

    async def start(self, reactor: IReactorCore) -> None:
        """Open the file, and bring an older one to this version's schema.

        :raises LocationsUnavailable: if it can't be opened, is no such database, or a newer SipMesh wrote it.
        """
        opened = _Open(self.database, reactor)
        try:
            await opened.prepare()
        except (OSError, sqlite3.Error, LocationsUnavailable) as error:
            opened.close()
            raise LocationsUnavailable(f"{self.database}: {error}") from error
        self._open = opened

    async def stop(self) -> None:
        """Finish what was begun, and close."""
        opened, self._open = self._open, None
        if opened is not None:
            await opened.finish()

    def bindings(self, aor: str) -> Deferred[Bindings]:
        """One indexed look-up, in another thread. See :class:`.ILocationStore`.

        :raises LocationsUnavailable: if the store is not started.
        """
        return self._opened().look_up(_key(aor))

    def update(self, aor: str, change: Callable[[Bindings], Bindings]) -> Deferred[Bindings]:
        """See :class:`.ILocationStore`. ``change`` runs in another thread; updates are made in their order.

        :raises LocationsUnavailable: if the store is not started, or too many updates wait for the disk.
        """
        return self._opened().update(_Update(_key(aor), change))

    def _opened(self) -> _Open:
        if self._open is None:
            raise LocationsUnavailable(f"{self.database}: not open")
        return self._open


class _Open:
    """An open file: its threads, and the updates that wait. Its methods are for the reactor's thread."""

    def __init__(self, database: Path, reactor: IReactorCore) -> None:
        self._database = database
        self._writer = _Threads(database, reactor, 1, "PRAGMA synchronous = FULL")
        self._reader = _Threads(database, reactor, 2, "PRAGMA query_only = ON")
        self._waiting: list[_Update] = []
        self._writing = False
        self._idle: list[Deferred[None]] = []
        self._purging = LoopingCall(self._purge)
        self._purging.clock = IReactorTime(reactor)
        self._purged: Deferred[LoopingCall] | None = None

    async def prepare(self) -> None:
        _create(self._database)
        await self._writer.run(_migrate)
        self._purged = self._purging.start(_PURGE_INTERVAL, now=False)

    async def finish(self) -> None:
        if self._purged is not None:
            self._purging.stop()
            await self._purged
        if self._writing:
            idle: Deferred[None] = Deferred()
            self._idle.append(idle)
            await idle
        self.close()

    def close(self) -> None:
        self._writer.close()
        self._reader.close()

    def look_up(self, aor: bytes) -> Deferred[Bindings]:
        return self._reader.run(_select, aor, time.time())

    def update(self, update: _Update) -> Deferred[Bindings]:
        if len(self._waiting) >= _WAITING:
            raise LocationsUnavailable(f"{self._database}: {_WAITING} updates wait for the disk")
        self._waiting.append(update)
        self._write()
        return update.done

    def _write(self) -> None:
        if self._writing or not self._waiting:
            return
        together, self._waiting = self._waiting[:_TOGETHER], self._waiting[_TOGETHER:]
        self._writing = True
        written = self._writer.run(_commit, together, time.time())
        written.addErrback(lambda failure: [failure.value] * len(together))
        written.addCallback(self._written, together)

    def _written(self, outcomes: Sequence[_Outcome], together: list[_Update]) -> None:
        self._writing = False
        self._write()
        for update, outcome in zip(together, outcomes, strict=True):
            if isinstance(outcome, BaseException):
                update.done.errback(outcome)
            else:
                update.done.callback(outcome)
        if not self._writing:
            idle, self._idle = self._idle, []
            for waiting in idle:
                waiting.callback(None)

    async def _purge(self) -> None:
        """Remove what expired, a bounded number at a time so that updates get their turn between."""
        try:
            while await self._writer.run(_delete_expired, time.time()) == _PURGE_TOGETHER:
                pass
        except sqlite3.Error:
            _log.failure("expired bindings stay in {database} for now", database=str(self._database))


# What runs in the pools' threads ---------------------------------------------------------------------------


class _Threads:
    """Threads with a connection each: adbapi's pool, with types."""

    def __init__(self, database: Path, reactor: IReactorCore, most: int, pragma: str) -> None:
        def set_up(connection: sqlite3.Connection) -> None:
            connection.execute(pragma)

        self._pool = _new_pool(
            "sqlite3",
            str(database),
            cp_reactor=reactor,
            cp_min=1,
            cp_max=most,
            cp_openfun=set_up,
            timeout=_BUSY,
            isolation_level=None,  # transactions begin where BEGIN stands, not where the module thinks best
            check_same_thread=False,  # the pool closes its connections in the reactor's thread
        )

    def run(
        self, function: Callable[[sqlite3.Connection, *_Arguments], _Result], *arguments: *_Arguments
    ) -> Deferred[_Result]:
        """Call in a thread, with its connection. What raises inside a transaction is rolled back."""
        running: Deferred[_Result] = self._pool.runWithConnection(function, *arguments)
        return running

    def close(self) -> None:
        """Wait for what runs, and close."""
        self._pool.close()


_new_pool: Callable[..., Any] = ConnectionPool


def _create(database: Path) -> None:
    """Make the file, if there is none, for its owner only; SQLite would let in whom the umask lets."""
    # One that is there may be open in this process (before a reload, say), and closing any descriptor of a
    # file gives up all locks that the process has on it: O_EXCL opens none but a new one.
    with suppress(FileExistsError):
        os.close(os.open(database, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _migrate(connection: sqlite3.Connection) -> None:
    _version(connection)
    _use_wal(connection)
    # Another process may start at the same time: the version is read again where only one can be.
    connection.execute("BEGIN IMMEDIATE")
    for statements in _MIGRATIONS[_version(connection) :]:
        for statement in statements:
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {len(_MIGRATIONS)}")
    connection.execute("COMMIT")


def _use_wal(connection: sqlite3.Connection) -> None:
    """The mode is the file's: the first to open it sets it, and nobody else may be using it just then."""
    give_up = time.monotonic() + _BUSY
    while True:
        try:
            mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        except sqlite3.OperationalError as error:
            # While another writes, this one statement does not wait by itself.
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                raise
            time.sleep(0.01)
        else:
            break
    if mode != "wal":
        raise LocationsUnavailable("SQLite can't keep a write-ahead log beside it")


def _version(connection: sqlite3.Connection) -> int:
    version: int
    version, used = connection.execute(_VERSION).fetchone()
    if version > len(_MIGRATIONS):
        raise LocationsUnavailable(
            f"its schema version {version} is of a newer SipMesh; this one knows up to {len(_MIGRATIONS)}"
        )
    if version == 0 and used:
        raise LocationsUnavailable("it is a database of something else")
    return version


def _select(connection: sqlite3.Connection, aor: bytes, now: float) -> Bindings:
    return tuple(_binding(*row) for row in connection.execute(_SELECT, (aor, now)))


def _commit(connection: sqlite3.Connection, together: list[_Update], now: float) -> list[_Outcome]:
    """All of them in one transaction. A change that raises fails alone; a database error fails all."""
    connection.execute("BEGIN IMMEDIATE")
    outcomes = [_replace(connection, update, now) for update in together]
    connection.execute("COMMIT")
    return outcomes


def _replace(connection: sqlite3.Connection, update: _Update, now: float) -> _Outcome:
    current = _select(connection, update.aor, now)
    try:
        bindings = update.change(current)
        rows = [(update.aor, position, *_row(binding)) for position, binding in enumerate(bindings)]
    except Exception as refused:
        # Nothing of it was written yet. It is the caller's, and raised there.
        return refused
    connection.execute(_DELETE, (update.aor,))
    connection.executemany(_INSERT, rows)
    return bindings


def _delete_expired(connection: sqlite3.Connection, now: float) -> int:
    return connection.execute(_PURGE, (now, _PURGE_TOGETHER)).rowcount


# Rows ------------------------------------------------------------------------------------------------------


def _key(aor: str) -> bytes:
    return aor.encode("utf-8", "surrogateescape")


def _row(binding: Binding) -> tuple[float, str]:
    """``expires_at`` is a column, for its index; the rest is JSON, in ASCII whatever the text is."""
    document = asdict(binding)
    return document.pop("expires_at"), json.dumps(document)


def _binding(expires_at: float, text: str) -> Binding:
    document = json.loads(text)
    return Binding(expires_at=expires_at, path=tuple(document.pop("path")), **document)
