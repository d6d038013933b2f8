"""Tell phones where ``localhost`` is: ``make run`` has this beside its server.

baresip asks DNS alone, never ``/etc/hosts``, and not every DNS server knows ``localhost``. Without an answer it could
register, by an address, but not follow our Record-Route: a call would ring and never stand.
"""

from __future__ import annotations

import sys

from twisted.internet import reactor

from sipmesh.testing.dns import zone_server


def main(port: int) -> None:
    """Answer on 127.0.0.1 until a signal ends it."""
    zone_server(reactor, {"localhost": ["A 127.0.0.1", "AAAA ::1"]}, "127.0.0.1", port)
    reactor.run()


if __name__ == "__main__":
    main(int(sys.argv[1]))
