"""Answers that are still good."""

from __future__ import annotations

from collections import OrderedDict

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from .answer import Answer, Question


@define(eq=False)
class AnswerCache:
    """Keeps each answer for its TTL, and no more than *size* of them: the least recently used goes first.

    :ivar clock: tells the time.
    :ivar size: answers, at most.
    """

    clock: IReactorTime
    size: int = 4096
    _kept: OrderedDict[Question, tuple[float, Answer]] = field(init=False, factory=OrderedDict)

    def get(self, question: Question) -> Answer | None:
        """The answer, if it is known and has not expired."""
        entry = self._kept.get(question)
        if entry is None:
            return None
        expires_at, answer = entry
        if self.clock.seconds() >= expires_at:
            del self._kept[question]
            return None
        self._kept.move_to_end(question)
        return answer

    def put(self, question: Question, answer: Answer) -> None:
        """Keep an answer. One with a TTL of 0 is not kept."""
        self._kept.pop(question, None)
        if answer.ttl > 0:
            self._kept[question] = (self.clock.seconds() + answer.ttl, answer)
            if len(self._kept) > self.size:
                self._kept.popitem(last=False)

    def __len__(self) -> int:
        return len(self._kept)
