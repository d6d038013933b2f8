"""The demonstration for people: the picture, and hops in words. Plain ASCII, in colour on a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence

from hops import Hop, Neighbour

PICTURE = r"""
 Figure 1: the trusted connections of one enterprise and a partner

   enterprise A: a.example, one CA                      :  partner B: b.example, its own CA
                                                        :
               +---------------+                        :
  alice -------| fe1.a.example |====+                   :
               +---------------+    |  +----------------+  +---------------+
                      ||            +==| edge.a.example |==| sip.b.example |------- bob
               +---------------+    |  +----------------+  +---------------+
  carol -------| fe2.a.example |====+     x     x    x  :
               +---------------+          .     .    .  :
                                          .     .    .  :.........................................
               +---------------+          .     .    .  :  C: c.example, its own CA, nobody's list
               | fe3.a.example |...........     .    .  :
               +---------------+                .    .  :  +---------------+
                 a certificate of B's CA        .    ......| sip.c.example |------- mallory
               +---------------+                .       :  +---------------+
               | fe9.a.example |.................       :
               +---------------+                        :
                 on no server list                      :

  -------  TLS: the client checks the server's certificate and name; its user proves who they are, once
  =======  mutual TLS: each server checks the other's chain, name and place on a list
  ......x  refused
"""

_COLOURS = {"bold": "1", "green": "32", "red": "31"}
_COLOURED = sys.stdout.isatty() and "NO_COLOR" not in os.environ


def in_colour(text: str, colour: str) -> str:
    """The text, in a colour where there are any."""
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if _COLOURED else text


def way(method: str, sender: str, hops: Sequence[Hop], receiver: str = "", refused_by: str = "") -> str:
    """A request's way in one line, to who received it or to where it was refused."""
    end = f" ----> {receiver}" if receiver else f" ....x {refused_by}" if refused_by else ""
    return f"{method:<9}{sender} ----> " + " ====> ".join(hop.server for hop in hops) + end


def in_words(sender: str, hops: Sequence[Hop], receiver: str = "") -> Iterator[str]:
    """Each hop of a request in a few lines: who proved what, and which policy let it through."""
    there: Neighbour | None = None
    for hop in hops:
        if there is None:
            yield from _from_client(sender, hop.server, sender, hop.source)
        else:
            yield from _between_servers(sender, there, hop.server, hop.source)
        yield _line(hop.policy, hop.because)
        sender, there = hop.server, hop.target
    if receiver:
        yield from _from_client(sender, receiver, receiver, there)


def _from_client(sender: str, receiver: str, client: str, seen: Neighbour | None) -> Iterator[str]:
    yield in_colour(f"{sender} ---- TLS ----> {receiver}", "bold")
    if seen is not None:
        yield _line(client, f"{seen.peer}, by digest when it registered on this connection")


def _between_servers(
    sender: str, receiver_seen: Neighbour, receiver: str, sender_seen: Neighbour | None
) -> Iterator[str]:
    yield in_colour(f"{sender} ==== mutual TLS ====> {receiver}", "bold")
    for name, seen in ((sender, sender_seen), (receiver, receiver_seen)):
        if seen is not None:
            yield _line(name, f"proved {', '.join(seen.proven)}")
            yield _line("", f"{seen.peer}: {seen.because}")


def _line(subject: str, text: str) -> str:
    return f"    {subject:<19} {text}"
