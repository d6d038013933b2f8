"""Follow a policy's target that is a user of ours: whoever says "to sip:desk@a.example" means the desk's contacts.

RFC 3261 §16.5: for a Request-URI in a domain of ours the target set comes from the location service, however the
URI got there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from attrs import evolve

from ..decisions import Forward, Target
from ..sip.message import Request, parse_message
from ..sip.splice import Splice
from ..sip.uri import Uri
from .routing_chain import Decided
from .validate import Refusal

MOST_TURNS = 5
"""How often a request may be given another address of ours before that counts as going in circles."""

Ask = Callable[[Request], Awaitable[Decided]]


async def follow(request: Request, decided: Decided, is_ours: Callable[[Uri], bool], ask: Ask) -> Decided:
    """Replace targets that are addresses of ours by what the policies say of those.

    :param ask: asks the policies about a request.
    """
    return await _follow(request, decided, is_ours, ask, MOST_TURNS)


async def _follow(
    request: Request, decided: Decided, is_ours: Callable[[Uri], bool], ask: Ask, turns: int
) -> Decided:
    decision = decided.decision
    if not isinstance(decision, Forward) or not leads_on(request, decided, is_ours):
        return decided
    if not turns:
        because = f"the policies send the request in circles, at last {decided.policy}"
        return Decided(Refusal(482, because), decided.policy)
    targets: list[Target] = []
    last = decided
    for target in decision.targets:
        if _leads_on(target, request, is_ours):
            other = _with_uri(request, target.uri)
            last = await _follow(other, await ask(other), is_ours, ask, turns - 1)
            targets += last.decision.targets if isinstance(last.decision, Forward) else ()
        else:
            targets.append(target)
    return evolve(decided, decision=evolve(decision, targets=tuple(targets))) if targets else last


def leads_on(request: Request, decided: Decided, is_ours: Callable[[Uri], bool]) -> bool:
    """Whether there is something to follow."""
    decision = decided.decision
    return isinstance(decision, Forward) and any(_leads_on(t, request, is_ours) for t in decision.targets)


def _leads_on(target: Target, request: Request, is_ours: Callable[[Uri], bool]) -> bool:
    return target.next_hop is None and not target.route and target.uri != request.uri and is_ours(target.uri)


def _with_uri(request: Request, uri: Uri) -> Request:
    edit = Splice(request)
    edit.start_line(b"%s %s SIP/2.0" % (request.method, bytes(uri)))
    other = parse_message(edit.to_bytes())
    assert isinstance(other, Request)
    return other
