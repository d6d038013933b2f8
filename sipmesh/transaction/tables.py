"""The four transaction machines of SIP as data: RFC 3261 §17 as amended by RFC 6026 §7 and §8.

The rules, in the order in which they matter here:

1.  A machine is a table: state -> event -> (next state, effects). An event that a state has no row for changes
    nothing and has no effect.
2.  Effects are names; whoever drives the machine carries them out in order. A machine never sends, waits or
    calls anybody.
3.  A timer is asked for with ``start X``; when it has run out, the driver feeds the event ``X`` back. What a
    timer lasts is in :data:`DURATIONS`; on a reliable transport some last no time at all (they are fed back at
    once) and some are not started (None).
4.  Entering ``terminated`` ends the transaction: its driver forgets it, and its running timer with it.
"""

from __future__ import annotations

T1 = 0.5
"""Round-trip estimate, seconds (RFC 3261 §17.1.1.1)."""
T2 = 4.0
"""The longest interval between retransmissions of a non-INVITE request or a final INVITE response, seconds."""
T4 = 5.0
"""The longest that a message stays in the network, seconds."""

# States
CALLING = "calling"
TRYING = "trying"
PROCEEDING = "proceeding"
COMPLETED = "completed"
CONFIRMED = "confirmed"
ACCEPTED = "accepted"
TERMINATED = "terminated"

# Events from the network and from the transaction user; timers are events named by their letter.
REQUEST = "request"  # the request again: a retransmission
ACK = "ack"
PROVISIONAL = "1xx"
SUCCESS = "2xx"
FAILURE = "300-699"
TRANSPORT_ERROR = "transport error"
ABANDON = "abandon"  # the transaction user waits no longer

# Effects
SEND = "send"  # the message that came with the event
RESEND = "resend"  # the last message sent
SEND_ACK = "send ack"  # for the 300-699 that came (RFC 3261 §17.1.1.3)
PASS = "pass"  # give what came to the transaction user
PASS_TIMEOUT = "pass timeout"
PASS_TRANSPORT_ERROR = "pass transport error"

Row = tuple[str, tuple[str, ...]]
Table = dict[str, dict[str, Row]]

DURATIONS: dict[str, tuple[float | None, float | None]] = {
    # timer: (on an unreliable transport, on a reliable one), seconds; RFC 3261 table 4, RFC 6026 §8.
    "A": (T1, None),
    "B": (64 * T1, 64 * T1),
    "D": (32.0, 0.0),
    "E": (T1, None),
    "F": (64 * T1, 64 * T1),
    "G": (T1, None),
    "H": (64 * T1, 64 * T1),
    "I": (T4, 0.0),
    "J": (64 * T1, 0.0),
    "K": (T4, 0.0),
    "L": (64 * T1, 64 * T1),
    "M": (64 * T1, 64 * T1),
}

STARTED = {f"start {timer}": timer for timer in DURATIONS}
"""The timer that an effect asks for."""

START_E_AT_T2 = "start E at T2"
"""Timer E again, but for T2 at once (RFC 3261 §17.1.2.2, *Proceeding*)."""

DOUBLING = {"A": float("inf"), "E": T2, "G": T2}
"""Timers that double each time they are started again, and up to what, seconds."""

_TERMINATE: Row = (TERMINATED, ())
_BROKEN: Row = (TERMINATED, (PASS_TRANSPORT_ERROR,))

# Beyond figure 5: the response comes back on the flow of the request, or not at all. So in *proceeding* the loss
# of the flow is an error, as it is everywhere else; Timer C would find out three minutes later.
INVITE_CLIENT: Table = {  # RFC 3261 §17.1.1, figure 5; RFC 6026 §8.4, figure 8
    CALLING: {
        "A": (CALLING, (RESEND, "start A")),
        "B": (TERMINATED, (PASS_TIMEOUT,)),
        TRANSPORT_ERROR: _BROKEN,
        ABANDON: _TERMINATE,
        PROVISIONAL: (PROCEEDING, (PASS,)),
        SUCCESS: (ACCEPTED, ("start M", PASS)),
        FAILURE: (COMPLETED, (SEND_ACK, PASS, "start D")),
    },
    PROCEEDING: {
        TRANSPORT_ERROR: _BROKEN,
        ABANDON: _TERMINATE,
        PROVISIONAL: (PROCEEDING, (PASS,)),
        SUCCESS: (ACCEPTED, ("start M", PASS)),
        FAILURE: (COMPLETED, (SEND_ACK, PASS, "start D")),
    },
    COMPLETED: {
        FAILURE: (COMPLETED, (SEND_ACK,)),
        TRANSPORT_ERROR: _BROKEN,
        "D": _TERMINATE,
    },
    ACCEPTED: {
        SUCCESS: (ACCEPTED, (PASS,)),
        "M": _TERMINATE,
    },
}

NON_INVITE_CLIENT: Table = {  # RFC 3261 §17.1.2, figure 6
    TRYING: {
        "E": (TRYING, (RESEND, "start E")),
        "F": (TERMINATED, (PASS_TIMEOUT,)),
        TRANSPORT_ERROR: _BROKEN,
        ABANDON: _TERMINATE,
        PROVISIONAL: (PROCEEDING, (PASS,)),
        SUCCESS: (COMPLETED, (PASS, "start K")),
        FAILURE: (COMPLETED, (PASS, "start K")),
    },
    PROCEEDING: {
        "E": (PROCEEDING, (RESEND, START_E_AT_T2)),
        "F": (TERMINATED, (PASS_TIMEOUT,)),
        TRANSPORT_ERROR: _BROKEN,
        ABANDON: _TERMINATE,
        PROVISIONAL: (PROCEEDING, (PASS,)),
        SUCCESS: (COMPLETED, (PASS, "start K")),
        FAILURE: (COMPLETED, (PASS, "start K")),
    },
    COMPLETED: {
        "K": _TERMINATE,
    },
}

INVITE_SERVER: Table = {  # RFC 3261 §17.2.1, figure 7; RFC 6026 §8.2, figure 7
    PROCEEDING: {
        REQUEST: (PROCEEDING, (RESEND,)),
        PROVISIONAL: (PROCEEDING, (SEND,)),
        SUCCESS: (ACCEPTED, (SEND, "start L")),
        FAILURE: (COMPLETED, (SEND, "start G", "start H")),
        TRANSPORT_ERROR: (PROCEEDING, (PASS_TRANSPORT_ERROR,)),
    },
    COMPLETED: {
        REQUEST: (COMPLETED, (RESEND,)),
        ACK: (CONFIRMED, ("start I",)),
        "G": (COMPLETED, (RESEND, "start G")),
        "H": (TERMINATED, (PASS_TIMEOUT,)),
        TRANSPORT_ERROR: (COMPLETED, (PASS_TRANSPORT_ERROR,)),
    },
    CONFIRMED: {
        "I": _TERMINATE,
    },
    ACCEPTED: {
        ACK: (ACCEPTED, (PASS,)),
        SUCCESS: (ACCEPTED, (SEND,)),
        TRANSPORT_ERROR: (ACCEPTED, (PASS_TRANSPORT_ERROR,)),
        "L": _TERMINATE,
    },
}

NON_INVITE_SERVER: Table = {  # RFC 3261 §17.2.2, figure 8
    TRYING: {
        PROVISIONAL: (PROCEEDING, (SEND,)),
        SUCCESS: (COMPLETED, (SEND, "start J")),
        FAILURE: (COMPLETED, (SEND, "start J")),
    },
    PROCEEDING: {
        REQUEST: (PROCEEDING, (RESEND,)),
        PROVISIONAL: (PROCEEDING, (SEND,)),
        SUCCESS: (COMPLETED, (SEND, "start J")),
        FAILURE: (COMPLETED, (SEND, "start J")),
        TRANSPORT_ERROR: _BROKEN,
    },
    COMPLETED: {
        REQUEST: (COMPLETED, (RESEND,)),
        TRANSPORT_ERROR: _BROKEN,
        "J": _TERMINATE,
    },
}

STARTS: dict[int, tuple[str, tuple[str, ...]]] = {
    # What the transaction user's first act does: initial state and effects, by identity of the table.
    id(INVITE_CLIENT): (CALLING, (SEND, "start A", "start B")),
    id(NON_INVITE_CLIENT): (TRYING, (SEND, "start E", "start F")),
    id(INVITE_SERVER): (PROCEEDING, ()),
    id(NON_INVITE_SERVER): (TRYING, ()),
}


def status_event(status: int) -> str:
    """The event that a response of this status is."""
    return PROVISIONAL if status < 200 else SUCCESS if status < 300 else FAILURE
