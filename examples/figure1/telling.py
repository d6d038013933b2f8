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

_COLOURS = {"bold": "1", "faint": "2", "green": "32", "red": "31"}
_COLOURED = sys.stdout.isatty() and "NO_COLOR" not in os.environ


def in_colour(text: str, colour: str) -> str:
    """The text, in a colour where there are any."""
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if _COLOURED else text


def way(method: str, caller: str, hops: Sequence[Hop], callee: str = "") -> str:
    """A request's way in one line; ``callee`` is empty where it did not arrive."""
    between = [" ====> ".join(hop.server for hop in hops)]
    return f"{method:<9}" + " ----> ".join([caller, *between, *([callee] if callee else [])])


def in_words(caller: str, hops: Sequence[Hop], callee: str = "") -> Iterator[str]:
    """Each hop of a request in a few lines: who proved what, and which policy let it through."""
    sender = caller
    for number, hop in enumerate(hops):
        before = hops[number - 1].target if number else None
        yield from _connection(sender, before, hop.server, hop.source)
        if hop.policy:
            yield _line("routed by", hop.policy, hop.because)
        sender = hop.server
    last = hops[-1].target if hops else None
    if callee and last is not None:
        yield in_colour(f"{sender} ---- TLS ----> {callee}", "bold")
        yield _line(callee, f"is {_who(last)}", "proven by digest when it registered on this connection")


def _connection(
    sender: str, receiver_seen: Neighbour | None, receiver: str, sender_seen: Neighbour | None
) -> Iterator[str]:
    if receiver_seen is None:
        yield in_colour(f"{sender} ---- TLS ----> {receiver}", "bold")
        if sender_seen is not None:
            yield _line(sender, f"is {_who(sender_seen)}", "proven by digest when it registered on this connection")
        return
    yield in_colour(f"{sender} ==== mutual TLS ====> {receiver}", "bold")
    for name, seen in ((receiver, receiver_seen), (sender, sender_seen)):
        if seen is not None:
            yield _line(name, f"is {_who(seen)}", f"{seen.because}")


def _who(neighbour: Neighbour) -> str:
    proven = ", ".join(neighbour.proven)
    return f"{neighbour.peer} [{proven}]" if proven else neighbour.peer


def _line(subject: str, what: str, because: str) -> str:
    return f"    {subject:<15} {what}\n" + " " * 20 + in_colour(because, "faint")
