"""What can be wrong with bytes that claim to be SIP."""

from __future__ import annotations


class SipSyntaxError(ValueError):
    """Something does not follow the grammar of RFC 3261 §25.

    :ivar reason: what was wrong, in one sentence, fit for the reason phrase of a 400 and for a log
        (printable ASCII; never longer than 200 characters, never a secret).
    :ivar status: the status code that answers it: 400, or a more exact one.
    """

    def __init__(self, reason: str, status: int = 400) -> None:
        reason = "".join(c if " " <= c <= "~" else "?" for c in reason)[:200]
        super().__init__(reason)
        self.reason = reason
        self.status = status
