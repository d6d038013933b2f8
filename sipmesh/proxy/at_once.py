"""Run a coroutine now, and later only as far as it has to wait.

Most requests wait for nothing: the server list is in memory, the flow is up. ``Deferred.fromCoroutine`` would
make each of them pay for the few that do wait.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure


def run(coroutine: Coroutine[Deferred[Any], Any, None], failed: Callable[[Failure], object]) -> None:
    """Run until it ends or awaits a Deferred that has not fired; then again each time that one fires.

    :param failed: told what the coroutine raises, if it raises.
    """
    _go_on(coroutine, failed, None)


def _go_on(
    coroutine: Coroutine[Deferred[Any], Any, None], failed: Callable[[Failure], object], result: object
) -> None:
    try:
        # As twisted.internet.defer does it: a failure is thrown in, a result is read from the Deferred by the
        # coroutine itself.
        if isinstance(result, Failure):
            waiting = result.throwExceptionIntoGenerator(coroutine)
        else:
            waiting = coroutine.send(None)
    except StopIteration:
        return
    except Exception:
        failed(Failure())
        return
    if not isinstance(waiting, Deferred):
        # An asyncio.Future, say. Who awaits it learns that, and nobody else is harmed.
        wrong = TypeError(f"only Deferreds can be awaited here, not a {type(waiting).__name__}")
        _go_on(coroutine, failed, Failure(wrong))
        return
    # It returns None, which marks a failure as handled.
    waiting.addBoth(lambda result: _go_on(coroutine, failed, result))
