"""The SQLite user database: what the command line does to it, and logins against it in real threads."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from twisted.cred.checkers import ICredentialsChecker
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from sipmesh.interfaces import ILifecycle
from sipmesh.sip.digest import MD5, SHA_256
from sipmesh_plugins.users_database import (
    UserRecord,
    add_user,
    create_schema,
    list_users,
    remove_user,
    set_password,
)
from sipmesh_plugins.users_sqlite import SqliteUsers

REALM = "a.example"
ALICE = ("alice", "a.example", REALM)

# Runs in its own process, as a process has one reactor: starts the checker, lets users log in through the
# whole of Authenticator, Portal and checker, stops, and tells how each fared and what was left behind.
LOGINS = """
import json, sys, threading
from pathlib import Path
from twisted.cred.portal import Portal
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import react
from sipmesh.proxy.authenticate import Authenticator, Proven
from sipmesh.proxy.users import UserRealm
from sipmesh.sip import parse_message
from sipmesh.sip.digest import NonceCounts, NonceFactory, expected_response, ha1, parse_credentials
from sipmesh.sip.names import AUTHORIZATION
from sipmesh_plugins import users_sqlite
from sipmesh_plugins.users_sqlite import SqliteUsers

REALM = "a.example"
users = SqliteUsers(Path(sys.argv[1]))
authenticator = Authenticator(
    Portal(UserRealm("a.example"), [users]), REALM, NonceFactory(bytes(32), 60), ("SHA-256", "MD5"), reactor.seconds
)

def request(username, password, algorithm):
    nonce = authenticator.nonces.make(reactor.seconds(), b"flow")
    def value(response):
        return (
            f'Digest username="{username}", realm="{REALM}", nonce="{nonce}", uri="sip:a.example", qop=auth, '
            f'response="{response}", algorithm={algorithm}, cnonce="c", nc=00000001'
        ).encode()
    secret = users_sqlite._NOBODY if password is None else ha1(algorithm, username, REALM, password)
    header = parse_credentials(value("0" * 64))
    response = expected_response(algorithm, secret, b"REGISTER", header)
    return parse_message(
        b"REGISTER sip:a.example SIP/2.0\\r\\nAuthorization: " + value(response) + b"\\r\\n\\r\\n"
    )

async def main(reactor):
    try:
        await Deferred.fromCoroutine(users.start(reactor))
    except Exception as error:
        print(json.dumps({"start": [type(error).__name__, str(error)], "threads": threading.active_count()}))
        return
    laters = [
        authenticator.check(request(*login), AUTHORIZATION, b"flow", NonceCounts())
        for login in json.loads(sys.argv[2])
    ]
    asynchronous = all(isinstance(later, Deferred) for later in laters)
    results = [await later for later in laters]
    told = [r.user.aor if isinstance(r, Proven) else [r.stale, r.because] for r in results]
    users.stop()
    left = [threading.active_count(), len(reactor.getDelayedCalls())]
    print(json.dumps({"told": told, "asynchronous": asynchronous, "left": left}))

react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
"""


def log_in(path: Path, *logins: tuple[str, str | None, str]) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-c", LOGINS, str(path), json.dumps(logins)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, object] = json.loads(done.stdout)
    return told


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "users.db"


# The command line's side


def test_first_user_makes_a_file_that_is_its_owners_alone(database: Path) -> None:
    before = os.umask(0)
    try:
        add_user(database, *ALICE, "wonderland")
    finally:
        os.umask(before)
    assert database.stat().st_mode & 0o777 == 0o600


def test_no_password_is_in_the_file(database: Path) -> None:
    add_user(database, *ALICE, "wonderland", md5=True)
    assert not any(b"wonderland" in f.read_bytes() for f in database.parent.iterdir())


def test_users_are_listed_without_secrets(database: Path) -> None:
    add_user(database, *ALICE, "wonderland")
    add_user(database, "bob", "B.example.", REALM, "builder", md5=True)
    alice, bob = list_users(database)
    assert alice == UserRecord(*ALICE, (SHA_256,), alice.created_at)
    assert (bob.username, bob.domain, bob.algorithms) == ("bob", "b.example", (SHA_256, MD5))
    assert alice.created_at > 1_700_000_000


def test_removed_user_is_gone(database: Path) -> None:
    add_user(database, *ALICE, "wonderland")
    remove_user(database, "alice", REALM)
    assert list_users(database) == []


def test_same_name_in_one_realm_is_refused_and_changes_nothing(database: Path) -> None:
    add_user(database, *ALICE, "wonderland")
    before = list_users(database)
    with pytest.raises(ValueError, match="already"):
        add_user(database, "alice", "b.example", REALM, "other")
    assert list_users(database) == before
    add_user(database, "alice", "b.example", "b.example", "other")


@pytest.mark.parametrize("username", ["", "a b", "a:b", "alice@a.example", "a\x00", "a\n", "x" * 256])
def test_names_that_are_none(database: Path, username: str) -> None:
    with pytest.raises(ValueError, match="no user name"):
        add_user(database, username, "a.example", REALM, "x")
    assert not database.exists()


@pytest.mark.parametrize("domain", ["", "-a", "a_b", "a@b", "a b"])
def test_domains_that_are_none(database: Path, domain: str) -> None:
    with pytest.raises(ValueError, match="no domain name"):
        add_user(database, "alice", domain, REALM, "x")


def test_empty_password_is_refused(database: Path) -> None:
    with pytest.raises(ValueError, match="empty"):
        add_user(database, *ALICE, "")


def test_changes_to_nobody(database: Path) -> None:
    add_user(database, *ALICE, "wonderland")
    with pytest.raises(LookupError, match="mallory"):
        set_password(database, "mallory", REALM, "x")
    with pytest.raises(LookupError, match="alice"):
        remove_user(database, "alice", "b.example")


def test_only_adding_makes_a_file(database: Path) -> None:
    with pytest.raises(FileNotFoundError, match="sipmesh user add"):
        list_users(database)
    assert not database.exists()


def test_making_the_schema_again_keeps_the_users(database: Path) -> None:
    add_user(database, *ALICE, "wonderland")
    create_schema(database)
    assert len(list_users(database)) == 1


def foreign_version(path: Path) -> None:
    create_schema(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 9")


def foreign_tables(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE mine (x)")
    path.chmod(0o600)


def no_database(path: Path) -> None:
    path.write_text("not a database at all, and long enough to be none" * 20)
    path.chmod(0o600)


FOREIGN = [
    (foreign_version, "version 9"),
    (foreign_tables, "holds no users"),
    (no_database, "not a database"),
]


@pytest.mark.parametrize(("make", "why"), FOREIGN)
def test_what_is_no_user_database_is_left_alone(
    database: Path, make: Callable[[Path], None], why: str
) -> None:
    make(database)
    before = database.read_bytes()
    with pytest.raises(ValueError, match=why):
        add_user(database, *ALICE, "wonderland")
    with pytest.raises(ValueError, match=why):
        list_users(database)
    assert database.read_bytes() == before


# The server's side


def test_logins_in_real_threads(database: Path) -> None:
    add_user(database, *ALICE, "wonderland")
    add_user(database, "bob", "b.example", REALM, "old", md5=True)
    add_user(database, "carol", "a.example", "other.example", "x")
    set_password(database, "bob", REALM, "builder", md5=True)
    told = log_in(
        database,
        ("alice", "wonderland", SHA_256),
        ("bob", "builder", SHA_256),
        ("bob", "builder", MD5),
        ("alice", "wrong", SHA_256),
        ("alice", "wonderland", MD5),
        ("bob", "old", SHA_256),
        ("carol", "x", SHA_256),
        ("mallory", "wonderland", SHA_256),
        ("' OR 1=1 --", "x", SHA_256),
    )
    assert told["told"] == [
        "sip:alice@a.example",
        "sip:bob@b.example",
        "sip:bob@b.example",
        *(
            [False, f"wrong user name or password for {u!r}"]
            for u in ("alice", "alice", "bob", "carol", "mallory")
        ),
        [False, f"wrong user name or password for {chr(39) + ' OR 1=1 --'!r}"],
    ]
    assert told["asynchronous"] is True
    assert told["left"] == [1, 0]


def test_whoever_guessed_the_hash_that_stands_in_for_nobodys_is_nobody(database: Path) -> None:
    add_user(database, *ALICE, "wonderland")
    told = log_in(database, ("mallory", None, SHA_256), ("alice", None, MD5))
    assert told["told"] == [[False, f"wrong user name or password for {u!r}"] for u in ("mallory", "alice")]


def test_many_logins_at_once(database: Path) -> None:
    add_user(database, *ALICE, "wonderland")
    told = log_in(database, *[("alice", "wonderland", SHA_256)] * 50)
    assert told["told"] == ["sip:alice@a.example"] * 50


def test_server_says_how_to_make_a_missing_file(database: Path) -> None:
    told = log_in(database)
    assert told["threads"] == 1
    assert told["start"] == [
        "FileNotFoundError",
        f"there is no user database at {database}; make it with `sipmesh user add`",
    ]
    assert not database.exists()


@pytest.mark.parametrize(("make", "why"), FOREIGN)
def test_server_does_not_start_on_something_else(
    database: Path, make: Callable[[Path], None], why: str
) -> None:
    make(database)
    told = log_in(database)
    assert "'ValueError'" in str(told["start"])
    assert why in str(told["start"])
    assert told["threads"] == 1


def test_server_does_not_start_on_a_file_that_all_may_read(database: Path) -> None:
    add_user(database, *ALICE, "wonderland")
    database.chmod(0o644)
    assert "PermissionError" in str(log_in(database)["start"])


def test_checker_keeps_the_contracts_and_refuses_before_its_start(database: Path) -> None:
    users = SqliteUsers(database)
    assert verifyObject(ICredentialsChecker, users)
    assert verifyObject(ILifecycle, users)
    failures: list[Failure] = []
    users.requestAvatarId(object()).addErrback(failures.append)
    assert isinstance(failures[0].value, RuntimeError)
    users.stop()
