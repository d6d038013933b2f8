"""Which of the final responses of a fork goes back: RFC 3261 §16.7 step 6."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from ..sip.message import Response


@frozen
class Outcome:
    """How a branch ended.

    :ivar status: 300 to 699.
    :ivar response: what came; None where the status is our own conclusion (no answer, not reached, not trusted).
    :ivar because: of a conclusion of our own.
    """

    status: int
    response: Response | None
    because: str = ""


# Within 4xx, first those that tell the client how to try again with success.
_HELPFUL = (401, 407, 415, 420, 484)


def best_outcome(outcomes: Sequence[Outcome]) -> Outcome:
    """:param outcomes: at least one."""

    def rank(outcome: Outcome) -> tuple[int, int, int]:
        status = outcome.status
        family = 0 if status >= 600 else status // 100
        helpful = 0 if status in _HELPFUL else 1
        # A proxy that got an answer knows more than one that concluded something.
        return family, helpful, 0 if outcome.response is not None else 1

    return min(outcomes, key=rank)
