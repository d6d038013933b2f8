"""From a URI to addresses: asks DNS what :mod:`sipmesh.resolver.plan` wants to know."""

from __future__ import annotations

from collections.abc import Callable
from random import Random, SystemRandom
from typing import Any

from attrs import Factory, define, field
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime, IResolver
from twisted.logger import Logger
from twisted.names import dns
from twisted.python.failure import Failure

from ..sip import SipUri
from ..sip.uri import Params
from .answer import Answer, Question, read_answer, read_failure
from .cache import AnswerCache
from .candidate import Candidate, NotReachable
from .plan import Steps, plan

LONGEST = 20.0
"""Seconds for one :meth:`Locator.locate`: below the 32 s (Timer B) for which who sent the request waits."""
MAX_QUERIES = 256
"""Under way at once. Each takes a socket; what asks for more than this gets a 'no' at once."""

RECENT = 1.0
"""Seconds for which an outcome that left nothing to chance is simply given again: a busy next hop is asked for
hundreds of times in one, and going through its known answers costs 4% of a call."""

_METHODS = {dns.A: "lookupAddress", dns.AAAA: "lookupIPV6Address", dns.SRV: "lookupService"}
_Result = tuple[list[dns.RRHeader], list[dns.RRHeader], list[dns.RRHeader]]

_log = Logger()


@define(eq=False)
class Locator:
    """Finds where the server of a URI may be reached (RFC 3263 §4). Reactor thread only.

    It has no delayed call but those of a :meth:`locate` under way, and these end when *dns* ends their
    queries: there is nothing to close.

    :ivar dns: asked with its own timeouts; :func:`~sipmesh.resolver.make_dns` makes one.
    :ivar clock: tells when an answer has expired and a search took too long.
    :ivar rng: chooses among SRV records of one priority.
    """

    dns: IResolver
    clock: IReactorTime
    rng: Random = Factory(SystemRandom)
    _cache: AnswerCache = field(init=False)
    _recent: dict[tuple[str, int | None, Params, bool], tuple[float, tuple[Candidate, ...]]] = field(
        init=False, factory=dict
    )
    _waiting: dict[Question, list[Deferred[Answer]]] = field(init=False, factory=dict)

    def __attrs_post_init__(self) -> None:
        self._cache = AnswerCache(self.clock)

    def locate(self, uri: SipUri, federated: bool) -> tuple[Candidate, ...] | Deferred[tuple[Candidate, ...]]:
        """The places to try, best first, at least one; at once if all answers are known, or none needed.

        Cancelling the Deferred is fine; queries that others wait for too go on.

        :param federated: whether the URI's domain is a partner's, which may publish ``_sipfederationtls``.
        :raises NotReachable: at once, or through the Deferred: there is none, or DNS did not tell within
            :data:`LONGEST`.
        """
        now = self.clock.seconds()
        place = (uri.host, uri.port, uri.params, federated)
        until, candidates = self._recent.get(place, (0.0, ()))
        if now < until:
            return candidates
        steps = plan(uri, federated, self.rng)
        try:
            questions = next(steps)
            while (answers := self._known(questions)) is not None:
                questions = steps.send(answers)
        except StopIteration as done:
            candidates = tuple(done.value)
            if uri.port is not None or len(candidates) == 1:
                if len(self._recent) >= self._cache.size:
                    self._recent.clear()
                self._recent[place] = (now + RECENT, candidates)
            return candidates

        def too_long(_: object, seconds: float) -> tuple[Candidate, ...]:
            raise NotReachable(f"{uri.domain}: DNS took longer than {seconds:.0f} s")

        return Deferred.fromCoroutine(self._ask(steps, questions)).addTimeout(LONGEST, self.clock, too_long)

    def _known(self, questions: tuple[Question, ...]) -> tuple[Answer, ...] | None:
        answers = []
        for question in questions:
            answer = self._cache.get(question)
            if answer is None:
                return None
            answers.append(answer)
        return tuple(answers)

    async def _ask(
        self, steps: Steps[tuple[Candidate, ...]], questions: tuple[Question, ...]
    ) -> tuple[Candidate, ...]:
        while True:
            # All are under way before the first is waited for.
            asked = [self._answer(question) for question in questions]
            answers = tuple([a if isinstance(a, Answer) else await a for a in asked])
            try:
                questions = steps.send(answers)
            except StopIteration as done:
                candidates: tuple[Candidate, ...] = done.value
                return candidates

    def _answer(self, question: Question) -> Answer | Deferred[Answer]:
        known = self._cache.get(question)
        if known is not None:
            return known
        waiters = self._waiting.get(question)
        if waiters is None and len(self._waiting) >= MAX_QUERIES:
            return Answer(said="not asked, too many queries are under way", failed=True)
        first = waiters is None
        waiters = self._waiting.setdefault(question, [])
        waiter: Deferred[Answer] = Deferred()
        waiters.append(waiter)
        if first:
            self._query(question)
        return waiter

    def _query(self, question: Question) -> None:
        def read(result: _Result) -> Answer:
            return read_answer(question, result[0], result[1])

        def unread(failure: Failure) -> Answer:
            _log.failure("The answer to {question} makes no sense", failure, question=str(question))
            return Answer(said="an answer that makes no sense", failed=True)

        def settle(answer: Answer) -> None:
            self._cache.put(question, answer)
            waiters = self._waiting.pop(question)  # one that was cancelled ignores this, once
            for waiter in waiters:
                waiter.callback(answer)

        # IResolver demands a timeout; every provider takes its absence as 'your own', and knows better.
        look_up: Callable[[str], Any] = getattr(self.dns, _METHODS[question.type])
        result: Deferred[_Result] = maybeDeferred(look_up, question.name)
        result.addCallbacks(read, read_failure).addErrback(unread).addCallback(settle)
