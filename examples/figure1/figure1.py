"""Figure 1: the trusted connections of one enterprise and a partner, as real processes on the loopback.

::

    python examples/figure1/figure1.py

prints each hop with the identity proven and the policy that let it through. Exit status 0 if every step went as
it has to, 1 if one differs. ``--sabotage`` makes something wrong, so that one does.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from time import monotonic
from typing import Any

from hops import Record
from server_process import ServerProcess
from servers import ADDRESSES, DNS_ADDRESS, SABOTAGES, ZONE, servers
from story import Story
from telling import PICTURE, in_colour
from twisted.internet.defer import Deferred, DeferredList, FirstError, gatherResults
from twisted.internet.task import react

from sipmesh.testing.dns import zone_server

LONGEST = 28.0
"""Seconds for all of it."""


def tell(line: str = "") -> None:
    """Print a line now, be it into a pipe."""
    print(line, flush=True)


def read_arguments(arguments: list[str]) -> frozenset[str]:
    """The sabotages that are asked for."""
    described = "\n".join(f"  {name:<9} {what}" for name, what in SABOTAGES.items())
    parser = ArgumentParser(
        description="Show the trusted connections of one enterprise and a partner.",
        epilog=f"sabotages:\n{described}",
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--sabotage",
        action="append",
        choices=SABOTAGES,
        default=[],
        help="make the configuration wrong, to see the demonstration fail; may be given more than once",
    )
    return frozenset(parser.parse_args(arguments).sabotage)


async def demonstrate(reactor: Any, sabotage: frozenset[str]) -> None:
    """Run everything. :raises SystemExit: always, with the status."""
    directory = Path(mkdtemp(prefix="figure1-"))
    zone = zone_server(reactor, ZONE, DNS_ADDRESS)
    processes, companies = servers(reactor, directory, zone.port, sabotage)

    async def clean_up() -> None:
        await DeferredList([process.stop() for process in processes.values()])
        rmtree(directory)

    # However it ends, Ctrl-C included, the reactor stops, and nothing stays behind.
    reactor.addSystemEventTrigger("before", "shutdown", lambda: Deferred.fromCoroutine(clean_up()))
    tell(in_colour(PICTURE, "bold"))
    for name in sabotage:
        tell(in_colour(f"  SABOTAGED: {SABOTAGES[name]}\n", "red"))
    record = Record(reactor)
    await start(processes, record)
    failed = await run(Story(reactor, companies, record, lambda line: tell(f"     {line}")))
    raise SystemExit(1 if failed else 0)


async def start(processes: dict[str, ServerProcess], record: Record) -> None:
    """Start all servers, and look at what they do from then on.

    :raises SystemExit: if one does not start.
    """
    began = monotonic()
    for process in processes.values():
        process.start()
    try:
        await gatherResults([process.listening for process in processes.values()], consumeErrors=True)
    except FirstError as error:
        tell(in_colour(error.subFailure.getErrorMessage(), "red"))
        raise SystemExit(1) from None
    for process in processes.values():
        await record.watch(process.home / "trace.sock")
    tell(
        in_colour(
            f"  {len(processes)} servers, each a process, port 5061, up in {monotonic() - began:.1f} s",
            "bold",
        )
    )
    for name, address in ADDRESSES.items():
        tell(f"     {address:<13} {name}")


async def run(story: Story) -> int:
    """Run the steps, each whatever became of those before it; how many differ."""
    failed = 0
    steps = story.steps()
    for number, step in enumerate(steps, 1):
        tell("\n" + in_colour(f"{number:3}  {step.__doc__}", "bold"))
        try:
            await step()
        except Exception as error:
            failed += 1
            tell(in_colour(f"     DIFFERS: {error}", "red"))
        else:
            tell(in_colour("     ok", "green"))
    if failed:
        tell("\n" + in_colour(f"{failed} of {len(steps)} steps differ.", "red"))
    else:
        tell("\n" + in_colour(f"All {len(steps)} steps as they have to be.", "green"))
    return failed


def main(reactor: Any, *arguments: str) -> Deferred[None]:
    """For :func:`twisted.internet.task.react`."""

    def too_long(_: object, seconds: float) -> None:
        tell(in_colour(f"     DIFFERS: not done within {seconds:g} seconds", "red"))
        raise SystemExit(1)

    sabotage = read_arguments(list(arguments))
    return Deferred.fromCoroutine(demonstrate(reactor, sabotage)).addTimeout(LONGEST, reactor, too_long)


if __name__ == "__main__":
    react(main, sys.argv[1:])
