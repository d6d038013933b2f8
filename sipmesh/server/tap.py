"""``twistd sipmesh``: the configuration is read and checked before anything else happens."""

from __future__ import annotations

import atexit
import gc
import os
import sys
from pathlib import Path
from typing import Any, ClassVar

from twisted.application.service import IService, MultiService
from twisted.internet import reactor as installed_reactor
from twisted.python.usage import Options as UsageOptions

from ..operator.trace_socket import TraceSocket
from .loading import load
from .policies import load_policies
from .problems import ConfigurationError
from .service import SipMeshService

# twistd has installed it; its type says nothing of what all reactors of a Unix can do.
reactor: Any = installed_reactor


def _tune_garbage_collector() -> None:
    """Look for cycles rarely: nearly nothing here is in one, and what lives is looked through each time.

    Only where the process is a server and nothing else. Measured: 7% of the CPU time of a call.
    """
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)


def _end_without_success() -> None:
    """Half a server is none: without its database or a port of its own it ends, and its exit status says so.

    twistd has no way to be told a status; what it does when the reactor has stopped is still done first.
    """
    atexit.register(os._exit, 1)
    reactor.callWhenRunning(reactor.stop)


class Options(UsageOptions):
    """The options of ``twistd sipmesh``."""

    synopsis = "[--config FILE]"
    longdesc = "Run a SIP server in a network of trusted servers. `sipmesh init` makes what it needs."
    optParameters: ClassVar[list[list[str | None]]] = [
        [
            "config",
            "c",
            "sipmesh.toml",
            "The configuration file; `sipmesh check` says what is wrong with it.",
        ],
    ]


def makeService(options: Options) -> IService:
    """Build the service.

    :raises SystemExit: if the configuration can't be used; why is on stderr, and nothing was opened.
    """
    file = Path(options["config"])
    try:
        configuration = load(file)
        server = SipMeshService(reactor, configuration, load_policies(configuration))
    except ConfigurationError as error:
        # Not as an exception: twistd would print its traceback, or all of its usage, around what matters.
        sys.stderr.write(f"the configuration can't be used; nothing was opened:\n\n{error}\n")
        raise SystemExit(1) from error
    services = MultiService()
    if configuration.trace.socket is not None:
        # First, so that who sees the server listen can look in.
        services.addService(TraceSocket(reactor, configuration.trace.socket, server))
    services.addService(server)
    server.started.addCallback(lambda _: _tune_garbage_collector())
    server.started.addErrback(lambda _: _end_without_success())
    return services
