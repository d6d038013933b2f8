"""``sipmesh trace``: look at a running server."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import click
from attrs import frozen

from ..server.loading import read
from .parameters import config_option

Event = dict[str, object]

_CALL = 12
"""So much of a Call-ID is shown: enough to tell the calls of a few seconds apart, and to filter by."""

_GOOD = frozenset({"admitted"})
_BAD = frozenset({"refused", "dropped", "missed"})


@click.command()
@config_option
@click.option(
    "--socket",
    "path",
    type=click.Path(path_type=Path),
    help="The server's trace socket, in place of --config.",
)
@click.option("--method", help="Only requests of this method, such as INVITE.")
@click.option("--call-id", metavar="TEXT", help="Only requests whose Call-ID begins so.")
@click.option("--count", type=click.IntRange(1), help="Stop after so many events.")
@click.option("--json", "raw", is_flag=True, help="The events as they come, one JSON object a line.")
def trace(
    config: Path, path: Path | None, method: str | None, call_id: str | None, count: int | None, raw: bool
) -> None:
    """Watch a running server: who connects, and what it decides about each request, and why.

    \b
    One line for each step:
      admitted, refused, closed   a connection, and who is at its other end
      request                     who asks for what
      route                       which policy decided what, because of what
      forward                     to whom it went on, and why they are trusted
      response, answer            what came back; what the server answered itself

    The server must have a socket in [trace], and be run by you. While nobody watches it records nothing. It
    ends with Ctrl-C, with the server, or after --count events.

    Exit status: 0, or 1 if there is no server to watch or it stopped before --count events.
    """
    wanted = _Filter(method.upper() if method else None, call_id)
    try:
        stopped = _watch(path or _configured(config), wanted, count, raw=raw)
    except KeyboardInterrupt:
        return
    if stopped:
        click.echo("the server stopped", err=True)
        if count is not None:
            sys.exit(1)


def _watch(path: Path, wanted: _Filter, count: int | None, *, raw: bool) -> bool:
    """Show events until there were ``count``. True if the server stopped before."""
    seen = 0
    with _connected(path) as lines:
        click.echo(f"watching {path}", err=True)
        for line in lines:
            event = json.loads(line)
            if event["step"] == "full":
                raise click.ClickException(f"not now: {event['because']}")
            if wanted.fits(event):
                click.echo(line.rstrip(b"\n") if raw else for_people(event))
                seen += 1
                if seen == count:
                    return False
    return True


@frozen
class _Filter:
    method: str | None
    call_id: str | None

    def fits(self, event: Event) -> bool:
        method = self.method is None or event.get("method") == self.method
        call_id = self.call_id is None or str(event.get("call_id", "")).startswith(self.call_id)
        return method and call_id


# The socket -----------------------------------------------------------------------------------------------


def _configured(config: Path) -> Path:
    sections, problems = read(config)
    trace = sections["trace"]
    if trace is None:
        said = "\n".join(
            str(problem) for problem in problems if problem.key.partition(".")[0] in ("", "trace")
        )
        raise click.ClickException(said)
    if not isinstance(trace.socket, Path):
        raise click.ClickException(
            f'{config} has no socket in [trace]: add socket = "run/trace.sock" and start the server anew'
        )
    return trace.socket


@contextmanager
def _connected(path: Path) -> Iterator[Iterator[bytes]]:
    with socket.socket(socket.AF_UNIX) as there:
        try:
            there.connect(str(path))
        except FileNotFoundError as e:
            raise click.ClickException(f"no server is running with this socket: there is no {path}") from e
        except ConnectionRefusedError as e:
            raise click.ClickException(
                f"no server is running: {path} is not a socket, or was left by one that is no more"
            ) from e
        except PermissionError as e:
            raise click.ClickException(
                f"{path} is for the server's user alone: run this as that user, or as root"
            ) from e
        except OSError as e:
            raise click.ClickException(f"{path}: {e.strerror or e}") from e
        with there.makefile("rb") as lines:
            yield lines


# What a person reads --------------------------------------------------------------------------------------


def for_people(event: Event) -> str:
    """One aligned line: when, which call or flow, what was asked, which step, and what came of it.

    :param event: see :class:`.ITraceObserver`. What a stranger sent and can't be printed is not printed.
    """
    if "call_id" in event:
        subject, request = str(event["call_id"])[:_CALL], f"{event['method']} {event['cseq']}"
    else:
        subject, request = f"flow {event['flow']}" if "flow" in event else "", ""
    step = str(event["step"])
    columns = (f"{_clock(event)}  {subject:{_CALL}}  {request:13}", f"{step:8}", _outcome(step, event))
    before, padded, after = (
        "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text) for text in columns
    )
    colour = _colour(step, event)
    return f"{before}  {click.style(padded, fg=colour) if colour else padded}  {after}".rstrip()


def _clock(event: Event) -> str:
    time = event.get("time")
    if not isinstance(time, (int, float)):
        return " " * 12
    return f"{datetime.fromtimestamp(time):%H:%M:%S.%f}"[:12]


def _outcome(step: str, event: Event) -> str:
    peer, because = event.get("peer", ""), event["because"]
    match step:
        case "request":
            return f"{event['uri']} {because}"
        case "route":
            return f"{event['decision']} by {event['policy']}: {because}"
        case "response":
            return f"{event['status']} from {peer}"
        case "answer":
            return f"{event['status']} to {peer}: {because}"
    if "call_id" in event or "flow" not in event:
        return str(because)
    return f"{event['direction']} {peer}{_proven(event)}: {because}"


def _proven(event: Event) -> str:
    proven = event["proven"]
    return (
        f" (its certificate names {', '.join(map(str, proven))})"
        if isinstance(proven, list) and proven
        else ""
    )


def _colour(step: str, event: Event) -> str | None:
    status = event.get("status")
    if isinstance(status, int):
        return None if status < 200 else "green" if status < 300 else "red"
    return "green" if step in _GOOD else "red" if step in _BAD else "cyan" if step == "route" else None
