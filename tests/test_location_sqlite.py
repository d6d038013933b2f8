"""The location service in SQLite, on real files: the contract, kill -9, several processes, schema, purge."""

from __future__ import annotations

import json
import os
import queue
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, TypeVar

import pytest
from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorCore, IReactorFromThreads, IReactorTime
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer
from zope.interface.verify import verifyObject

from sipmesh.decisions import Binding, Bindings
from sipmesh.interfaces import ILifecycle, ILocationStore
from sipmesh.testing.locations import CHECKS, Check, MemoryLocations, Opened
from sipmesh_plugins.location_sqlite import LocationsUnavailable, SqliteLocations

T = TypeVar("T")
AOR = "sip:alice@a.example"
SECONDS = 30.0  # that a thread or a process may take before a test gives up


@implementer(IReactorFromThreads)
class ThreadedClock(Clock):
    """As much of a reactor as threads need, on a fake clock: what they hand over runs while a test waits."""

    def __init__(self) -> None:
        super().__init__()
        self._handed_over: queue.Queue[Callable[[], object]] = queue.Queue()
        self.triggers: list[object] = []

    def callFromThread(self, callable: Callable[..., object], *args: Any, **kwargs: Any) -> None:
        self._handed_over.put(lambda: callable(*args, **kwargs))

    def callWhenRunning(self, callable: Callable[..., object], *args: Any, **kwargs: Any) -> None:
        callable(*args, **kwargs)

    def addSystemEventTrigger(self, *args: Any) -> object:
        self.triggers.append(args)
        return args

    def removeSystemEventTrigger(self, trigger: object) -> None:
        self.triggers.remove(trigger)

    def wait(self, later: Awaitable[T]) -> T:
        """Run what threads hand over until the result is there."""

        async def awaited() -> T:
            return await later

        results: list[T | Failure] = []
        Deferred.fromCoroutine(awaited()).addBoth(results.append)
        while not results:
            self._handed_over.get(timeout=SECONDS)()
        if isinstance(results[0], Failure):
            results[0].raiseException()
        return results[0]


@pytest.fixture
def reactor() -> Iterator[ThreadedClock]:
    reactor = ThreadedClock()
    yield reactor
    assert reactor.getDelayedCalls() == []
    assert reactor.triggers == []


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "locations.db"


@pytest.fixture
def store(database: Path, reactor: ThreadedClock) -> Iterator[SqliteLocations]:
    store = SqliteLocations(database)
    reactor.wait(store.start(as_reactor(reactor)))
    yield store
    reactor.wait(store.stop())


def as_reactor(clock: ThreadedClock) -> IReactorCore:
    reactor: Any = clock
    assert IReactorTime.providedBy(clock)
    return reactor  # type: ignore[no-any-return]  # it has what is used


def binding(contact: str, expires_in: float = 3600.0) -> Binding:
    return Binding(contact, time.time() + expires_in, 1.0, "1@h", 1)


def add(*bindings: Binding) -> Callable[[Bindings], Bindings]:
    return lambda current: (*current, *bindings)


# The contract ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: str(check.__name__))
def test_it_keeps_the_contract(check: Check, database: Path, reactor: ThreadedClock) -> None:
    @asynccontextmanager
    async def opened() -> AsyncIterator[ILocationStore]:
        store = SqliteLocations(database)
        await store.start(as_reactor(reactor))
        try:
            yield store
        finally:
            await store.stop()

    reactor.wait(check(opened))


def test_it_provides_its_interfaces(store: SqliteLocations) -> None:
    assert verifyObject(ILocationStore, store)
    assert verifyObject(ILifecycle, store)


class KeepsExpired(MemoryLocations):
    def bindings(self, aor: str) -> Bindings:
        return self._known.get(aor, ())


class LosesWhatIsRefused(MemoryLocations):
    def update(self, aor: str, change: Callable[[Bindings], Bindings]) -> Deferred[Bindings]:
        before = self.bindings(aor)
        self._known[aor] = ()
        return super().update(aor, lambda _: change(before))


class SwallowsWhatIsRaised(MemoryLocations):
    def update(self, aor: str, change: Callable[[Bindings], Bindings]) -> Deferred[Bindings]:
        return super().update(aor, change).addErrback(lambda _: self.bindings(aor))


class FoldsCase(MemoryLocations):
    def update(self, aor: str, change: Callable[[Bindings], Bindings]) -> Deferred[Bindings]:
        return super().update(aor.lower(), change)

    def bindings(self, aor: str) -> Bindings:
        return super().bindings(aor.lower())


class DropsPath(MemoryLocations):
    def bindings(self, aor: str) -> Bindings:
        return tuple(evolve(b, path=()) for b in super().bindings(aor))


def shortcomings(opened: Opened) -> set[str]:
    found = set()
    for check in CHECKS:
        results: list[object] = []
        Deferred.fromCoroutine(check(opened)).addBoth(results.append)
        if results[0] is not None:
            assert isinstance(results[0], Failure)
            assert isinstance(results[0].value, AssertionError), results[0]
            found.add(check.__name__)
    return found


@pytest.mark.parametrize(
    ("flawed", "expected"),
    [
        (KeepsExpired, "expired_bindings_are_gone"),
        (LosesWhatIsRefused, "what_a_change_raises_is_raised_and_changes_nothing"),
        (SwallowsWhatIsRaised, "what_a_change_raises_is_raised_and_changes_nothing"),
        (FoldsCase, "addresses_of_record_are_apart"),
        (DropsPath, "update_returns_and_keeps_the_new_bindings"),
        (None, "bindings_outlive_the_store"),
    ],
)
def test_the_checks_find_a_flawed_store(flawed: type[MemoryLocations] | None, expected: str) -> None:
    @asynccontextmanager
    async def opened() -> AsyncIterator[ILocationStore]:
        yield (flawed or MemoryLocations)() if flawed is None or not kept else kept[0]

    kept = [] if flawed is None else [flawed()]
    assert expected in shortcomings(opened)


def test_the_checks_find_nothing_in_a_store_that_is_right() -> None:
    for check in CHECKS:
        store = MemoryLocations()

        @asynccontextmanager
        async def opened(store: MemoryLocations = store) -> AsyncIterator[ILocationStore]:
            yield store

        results: list[object] = []
        Deferred.fromCoroutine(check(opened)).addBoth(results.append)
        assert results == [None]


# What survives ---------------------------------------------------------------------------------------------

REGISTERING = """
import sys, time
from pathlib import Path
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from sipmesh.registrar.registrar import Registrar, RegistrationBounds
from sipmesh.sip import parse_message
from sipmesh_plugins.location_sqlite import SqliteLocations

REQUEST = '''REGISTER sip:a.example SIP/2.0
Via: SIP/2.0/TLS 192.0.2.1;branch=z9hG4bK1
From: <{aor}>;tag=1
To: <{aor}>
Call-ID: 1@192.0.2.1
CSeq: 1 REGISTER
Contact: <{contact}>

'''.replace(chr(10), chr(13) + chr(10))

async def register(registrar, name):
    for number in range(1_000_000):
        aor, contact = f"sip:{name}-{number % 50}@a.example", f"sip:{number}@192.0.2.1"
        request = parse_message(REQUEST.format(aor=aor, contact=contact).encode())
        answer = await registrar.register(request, aor, "<sip:t@a.example;lr>")
        if answer.status != 200:
            continue
        sys.stdout.write(f"{aor} {contact}" + chr(10))
        sys.stdout.flush()

async def main(database, run):
    store = SqliteLocations(Path(database))
    await store.start(reactor)
    registrar = Registrar(store, RegistrationBounds(contacts=10_000), time.time)
    for client in range(4):
        Deferred.fromCoroutine(register(registrar, f"{run}.{client}"))

reactor.callWhenRunning(lambda: Deferred.fromCoroutine(main(*sys.argv[1:])))
reactor.run()
"""


def run_python(script: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def acknowledged_before_kill(database: Path, run: int, lines: int) -> list[list[str]]:
    with run_python(REGISTERING, database, run) as process:
        assert process.stdout is not None
        acknowledged = [process.stdout.readline() for _ in range(lines)]
        process.send_signal(signal.SIGKILL)
        acknowledged += process.stdout.readlines()
    assert process.returncode == -signal.SIGKILL
    return [line.split() for line in acknowledged if line.endswith("\n")]


def test_what_was_acknowledged_survives_kill_9_at_any_time(database: Path, reactor: ThreadedClock) -> None:
    chance = random.Random(5626)
    acknowledged: list[list[str]] = []
    for run in range(6):
        acknowledged += acknowledged_before_kill(database, run, chance.randrange(1, 400))
        store = SqliteLocations(database)
        reactor.wait(store.start(as_reactor(reactor)))
        kept = {
            (aor, b.contact)
            for aor in {aor for aor, _ in acknowledged}
            for b in reactor.wait(store.bindings(aor))
        }
        reactor.wait(store.stop())
        assert {(aor, contact) for aor, contact in acknowledged} <= kept
    assert len(acknowledged) > 6
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_commit_waits_for_the_disk(database: Path, store: SqliteLocations, reactor: ThreadedClock) -> None:
    """A power cut can't be had in a test; that SQLite is told to wait can be seen."""
    seen: list[object] = []

    def look(current: Bindings) -> Bindings:
        assert store._open is not None
        (connection,) = store._open._writer._pool.connections.values()
        seen.extend(connection.execute("PRAGMA synchronous").fetchone())
        seen.extend(connection.execute("PRAGMA journal_mode").fetchone())
        return current

    reactor.wait(store.update(AOR, look))
    assert seen == [2, "wal"]


ADDING = """
import sys, time
from pathlib import Path
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from sipmesh.decisions import Binding
from sipmesh_plugins.location_sqlite import SqliteLocations

async def main(database, name, count):
    store = SqliteLocations(Path(database))
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        await store.start(reactor)
        for number in range(int(count)):
            new = Binding(f"sip:{name}-{number}@h", time.time() + 3600, 1.0, name, number)
            await store.update("sip:alice@a.example", lambda current: (*current, new))
        await store.stop()
        print("done", flush=True)
    finally:
        reactor.stop()

reactor.callWhenRunning(lambda: Deferred.fromCoroutine(main(*sys.argv[1:])))
reactor.run()
"""


def test_processes_that_share_a_file_lose_nothing_of_each_other(
    database: Path, reactor: ThreadedClock
) -> None:
    """Nor do they hinder each other in making it: all start at the same moment, on no file."""
    names, count = ("one", "two", "three"), 60
    processes = [run_python(ADDING, database, name, count) for name in names]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=2 * SECONDS)[0] for process in processes]
    assert outputs == ["done\n"] * len(names)
    store = SqliteLocations(database)
    reactor.wait(store.start(as_reactor(reactor)))
    kept = sorted(b.contact for b in reactor.wait(store.bindings(AOR)))
    reactor.wait(store.stop())
    assert kept == sorted(f"sip:{name}-{number}@h" for name in names for number in range(count))


OPENING = """
import sqlite3, sys
sys.stdin.readline()
connection = sqlite3.connect(sys.argv[1])
print(connection.execute("SELECT count(*) FROM bindings").fetchone()[0])
connection.close()
"""


def test_a_second_store_in_this_process_leaves_the_first_its_locks(
    database: Path, store: SqliteLocations, reactor: ThreadedClock
) -> None:
    """As at a reload. Without them, who closes the file next takes away the log that we still write."""
    reactor.wait(store.update(AOR, add(binding("sip:1@h"))))
    second = SqliteLocations(database)
    reactor.wait(second.start(as_reactor(reactor)))
    reactor.wait(second.stop())
    log = database.with_name(database.name + "-wal")
    before = log.stat().st_ino
    assert run_python(OPENING, database).communicate("go\n", timeout=SECONDS)[0] == "1\n"
    assert log.stat().st_ino == before


def test_starting_waits_for_another_process_that_writes_a_new_file(
    database: Path, reactor: ThreadedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the change to WAL, SQLite's own timeout does not see to that."""
    waits: list[float] = []
    with closing(sqlite3.connect(database, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")

        def sleep(seconds: float) -> None:
            waits.append(seconds)
            other.execute("ROLLBACK")

        monkeypatch.setattr("sipmesh_plugins.location_sqlite.time.sleep", sleep)
        store = SqliteLocations(database)
        reactor.wait(store.start(as_reactor(reactor)))
        reactor.wait(store.stop())
    assert len(waits) == 1


# Errors ----------------------------------------------------------------------------------------------------


def test_a_database_error_fails_all_that_were_to_be_committed_together(
    database: Path, store: SqliteLocations, reactor: ThreadedClock
) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute(
            "CREATE TRIGGER full BEFORE INSERT ON bindings BEGIN SELECT RAISE(ABORT, 'full'); END"
        )
    failures: list[Failure] = []
    for number in range(5):
        store.update(f"sip:{number}@a.example", add(binding("sip:1@h"))).addErrback(failures.append)
    with pytest.raises(sqlite3.IntegrityError, match="full"):
        reactor.wait(store.update(AOR, add(binding("sip:1@h"))))
    assert len(failures) == 5
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("DROP TRIGGER full")
    assert len(reactor.wait(store.update(AOR, add(binding("sip:1@h"))))) == 1


def test_more_updates_than_can_wait_are_refused(
    store: SqliteLocations, reactor: ThreadedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sipmesh_plugins.location_sqlite._WAITING", 2)
    first = [store.update(AOR, add(binding(f"sip:{number}@h"))) for number in range(3)]
    with pytest.raises(LocationsUnavailable, match="2 updates wait for the disk"):
        store.update(AOR, add(binding("sip:3@h")))
    assert [len(reactor.wait(d)) for d in first] == [1, 2, 3]


def test_what_waits_is_written_before_the_store_stops(database: Path, reactor: ThreadedClock) -> None:
    store = SqliteLocations(database)
    reactor.wait(store.start(as_reactor(reactor)))
    updates = [store.update(AOR, add(binding(f"sip:{number}@h"))) for number in range(250)]
    stopping = Deferred.fromCoroutine(store.stop())
    with pytest.raises(LocationsUnavailable, match="not open"):
        store.update(AOR, add(binding("sip:late@h")))
    reactor.wait(stopping)
    assert [len(reactor.wait(d)) for d in updates] == list(range(1, 251))


def test_a_store_that_is_not_started_says_so(database: Path, reactor: ThreadedClock) -> None:
    store = SqliteLocations(database)
    with pytest.raises(LocationsUnavailable, match="not open"):
        store.bindings(AOR)
    reactor.wait(store.stop())


# The file --------------------------------------------------------------------------------------------------


def test_only_the_owner_may_read_the_file(database: Path, reactor: ThreadedClock) -> None:
    before = os.umask(0)
    try:
        store = SqliteLocations(database)
        reactor.wait(store.start(as_reactor(reactor)))
        reactor.wait(store.update(AOR, add(binding("sip:1@h"))))
        files = list(database.parent.iterdir())
        assert {f.name for f in files} == {"locations.db", "locations.db-wal", "locations.db-shm"}
        assert {stat.S_IMODE(f.stat().st_mode) for f in files} == {0o600}
        reactor.wait(store.stop())
    finally:
        os.umask(before)


def start_fails(database: Path, reactor: ThreadedClock) -> str:
    with pytest.raises(LocationsUnavailable) as raised:
        reactor.wait(SqliteLocations(database).start(as_reactor(reactor)))
    message = str(raised.value)
    assert message.startswith(f"{database}: ")
    return message


def test_a_newer_schema_is_refused_and_left_alone(database: Path, reactor: ThreadedClock) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA user_version = 7")
    before = database.read_bytes()
    assert "schema version 7 is of a newer SipMesh; this one knows up to 1" in start_fails(database, reactor)
    assert database.read_bytes() == before


def test_a_database_of_something_else_is_refused_and_left_alone(
    database: Path, reactor: ThreadedClock
) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE users (name TEXT)")
    before = database.read_bytes()
    assert "a database of something else" in start_fails(database, reactor)
    assert database.read_bytes() == before


def test_a_file_that_is_no_database_is_refused(database: Path, reactor: ThreadedClock) -> None:
    database.write_bytes(b"alice = secret\n" * 100)
    assert "not a database" in start_fails(database, reactor)


def test_a_directory_that_is_missing_is_named(tmp_path: Path, reactor: ThreadedClock) -> None:
    assert "No such file or directory" in start_fails(tmp_path / "none" / "locations.db", reactor)


# Expiry ----------------------------------------------------------------------------------------------------


def rows(database: Path) -> int:
    with closing(sqlite3.connect(database)) as connection:
        return int(connection.execute("SELECT count(*) FROM bindings").fetchone()[0])


def test_expired_bindings_leave_the_file_within_a_minute(
    database: Path, store: SqliteLocations, reactor: ThreadedClock
) -> None:
    reactor.wait(store.update(AOR, add(*(binding(f"sip:{n}@h", expires_in=-1) for n in range(1200)))))
    reactor.wait(store.update("sip:bob@a.example", add(binding("sip:1@h"))))
    reactor.advance(59)
    assert rows(database) == 1201
    reactor.advance(1)
    reactor.wait(store.stop())
    assert rows(database) == 1


def test_a_purge_that_fails_is_tried_again(
    database: Path, store: SqliteLocations, reactor: ThreadedClock
) -> None:
    reactor.wait(store.update(AOR, add(binding("sip:1@h", expires_in=-1))))
    with closing(sqlite3.connect(database)) as connection:
        connection.execute(
            "CREATE TRIGGER keep BEFORE DELETE ON bindings BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
        reactor.advance(60)
        reactor.wait(store.bindings(AOR))
        while not reactor.getDelayedCalls():
            reactor.wait(store.bindings(AOR))
        assert rows(database) == 1
        connection.execute("DROP TRIGGER keep")
    reactor.advance(60)
    reactor.wait(store.stop())
    assert rows(database) == 0


def test_an_update_takes_away_what_expired(
    database: Path, store: SqliteLocations, reactor: ThreadedClock
) -> None:
    reactor.wait(store.update(AOR, add(binding("sip:old@h", expires_in=-1))))
    reactor.wait(store.update(AOR, add(binding("sip:new@h"))))
    with closing(sqlite3.connect(database)) as connection:
        (row,) = connection.execute("SELECT aor, binding FROM bindings").fetchall()
    assert (row[0], json.loads(row[1])["contact"]) == (AOR.encode(), "sip:new@h")
