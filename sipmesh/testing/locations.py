"""For who writes a location store: checks of the contract of :class:`.ILocationStore`; and a store in memory.

A store's author writes an asynchronous context manager that opens the store, always on the same storage,
empty at first, and closes it at the end; and runs each of :data:`CHECKS` with it, on a storage of its own::

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    def test_it_keeps_the_contract(check):
        @asynccontextmanager
        async def opened():
            store = MyLocations(...)
            await store.start(reactor)
            try:
                yield store
            finally:
                await store.stop()

        run(check(opened))

A check is a coroutine function. Where the store falls short it raises AssertionError, with what was expected.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any

from attrs import define, evolve, field
from twisted.internet.defer import Deferred, gatherResults
from zope.interface import implementer

from ..decisions import Binding, Bindings, BindingsLater
from ..interfaces import ILocationStore

Opened = Callable[[], AbstractAsyncContextManager[ILocationStore]]
"""Opens the store under test; called again, it opens another on the same storage."""

_ALICE = "sip:alice@a.example"
_BOB = "sip:bob@a.example"


@implementer(ILocationStore)
@define(eq=False)
class MemoryLocations:
    """A location store for tests: it forgets when the process ends.

    :ivar now: the time, in seconds of Unix time; the ``seconds`` of a fake clock will do.
    """

    now: Callable[[], float] = time.time
    _known: dict[str, Bindings] = field(init=False, factory=dict, repr=False)

    def bindings(self, aor: str) -> Bindings:
        """At once. See :class:`.ILocationStore`."""
        now = self.now()
        return tuple(b for b in self._known.get(aor, ()) if b.expires_at > now)

    def update(self, aor: str, change: Callable[[Bindings], Bindings]) -> Deferred[Bindings]:
        """At once, but for the form. See :class:`.ILocationStore`."""

        async def changed() -> Bindings:
            self._known[aor] = change(self.bindings(aor))
            return self._known[aor]

        return Deferred.fromCoroutine(changed())


# The checks ------------------------------------------------------------------------------------------------


async def unknown_aor_has_no_bindings(opened: Opened) -> None:
    """Not an error: nobody registered."""
    async with opened() as store:
        _expect(await _bindings(store, _ALICE), ())


async def update_returns_and_keeps_the_new_bindings(opened: Opened) -> None:
    """Each attribute comes back as it was, whatever text or number it holds."""
    made = (
        _binding("sip:alice@192.0.2.1:5061;transport=tls"),
        evolve(
            _binding('sip:"odd\\"%00\udcff\u00e9@[2001:db8::1]'),
            q=0.001,
            cseq=2**31 - 1,
            path=("<sip:token@edge.a.example;lr>", "<sip:\udcfe@inner.a.example;lr;ob>;x=','"),
            instance='"<urn:uuid:00000000-0000-1000-8000-AABBCCDDEEFF>"',
            reg_id=2**31 - 1,
            user_agent="Téléphone '1'; DROP TABLE bindings --",
        ),
    )
    async with opened() as store:
        returned = await store.update(_ALICE, lambda _: made)
        _expect(sorted(returned, key=repr), sorted(made, key=repr))
        _expect(type(returned), tuple)
        found = await _bindings(store, _ALICE)
        _expect(sorted(found, key=repr), sorted(made, key=repr))
        _expect(type(found), tuple)


async def change_is_given_the_current_bindings(opened: Opened) -> None:
    """What an update made is what the next one changes; what it leaves out is gone."""
    first, second = _binding("sip:1@192.0.2.1"), _binding("sip:2@192.0.2.1")
    async with opened() as store:
        await store.update(_ALICE, lambda _: (first,))
        await store.update(_ALICE, lambda current: (*current, second))
        _expect(set(await _bindings(store, _ALICE)), {first, second})
        await store.update(_ALICE, lambda current: tuple(b for b in current if b != first))
        _expect(await _bindings(store, _ALICE), (second,))
        _expect(await store.update(_ALICE, lambda _: ()), ())
        _expect(await _bindings(store, _ALICE), ())


async def addresses_of_record_are_apart(opened: Opened) -> None:
    """Compared byte for byte, whatever bytes a Request-URI brought: each has its own bindings."""
    aors = [_ALICE, "sip:Alice@a.example", "sip:a.example", "sip:alice@a.example.", "sip:alicé@a.example"]
    aors += ["sip:alice\0@a.example", "sip:alice\udcff@a.example", "sip:%@a.example", "sip:'@a.example"]
    aors += ["sip:alic_@a.example", "sip:" + "x" * 4000 + "@a.example", "sip:\U0001f4de@a.example"]
    async with opened() as store:
        for number, aor in enumerate(aors):
            _expect(await _bindings(store, aor), ())
            await _add(store, aor, _binding(f"sip:{number}@192.0.2.1"))
        for number, aor in enumerate(aors):
            _expect([b.contact for b in await _bindings(store, aor)], [f"sip:{number}@192.0.2.1"])


async def expired_bindings_are_gone(opened: Opened) -> None:
    """Neither listed nor given to a change."""
    live = _binding("sip:live@192.0.2.1")
    dead = evolve(_binding("sip:dead@192.0.2.1"), expires_at=time.time() - 0.001)
    seen: list[Bindings] = []

    def look(current: Bindings) -> Bindings:
        seen.append(current)
        return current

    async with opened() as store:
        await store.update(_ALICE, lambda _: (dead, live))
        _expect(await _bindings(store, _ALICE), (live,))
        _expect(await store.update(_ALICE, look), (live,))
    _expect(set(seen), {(live,)})


async def what_a_change_raises_is_raised_and_changes_nothing(opened: Opened) -> None:
    """The very exception, so that the registrar can tell why; and the next update is not hurt by it."""
    binding = _binding("sip:alice@192.0.2.1")
    reason = _Refused("no")

    def refuse(_: Bindings) -> Bindings:
        raise reason

    async with opened() as store:
        await _add(store, _ALICE, binding)
        _expect(await _refusal(store, _ALICE, refuse), reason)
        _expect(await _bindings(store, _ALICE), (binding,))
        await _add(store, _BOB, binding)
        _expect(await _bindings(store, _BOB), (binding,))


async def updates_at_once_lose_nothing(opened: Opened) -> None:
    """Updates of one address of record that do not wait for each other, some of which are refused."""

    def refuse(_: Bindings) -> Bindings:
        raise _Refused

    contacts = [f"sip:{number}@192.0.2.1" for number in range(50)]
    async with opened() as store:
        adding = [Deferred.fromCoroutine(_add(store, _ALICE, _binding(contact))) for contact in contacts[:25]]
        refused = Deferred.fromCoroutine(_refusal(store, _ALICE, refuse))
        adding += [
            Deferred.fromCoroutine(_add(store, _ALICE, _binding(contact))) for contact in contacts[25:]
        ]
        await gatherResults(adding, consumeErrors=True)
        _expect(type(await refused), _Refused)
        _expect(sorted(b.contact for b in await _bindings(store, _ALICE)), sorted(contacts))


async def bindings_outlive_the_store(opened: Opened) -> None:
    """What was acknowledged is there when the store is opened again."""
    binding = _binding("sip:alice@192.0.2.1")
    async with opened() as store:
        await _add(store, _ALICE, binding)
        await _add(store, _BOB, binding)
        await store.update(_BOB, lambda _: ())
    async with opened() as store:
        _expect(await _bindings(store, _ALICE), (binding,))
        _expect(await _bindings(store, _BOB), ())


Check = Callable[[Opened], Coroutine[Any, Any, None]]

CHECKS: tuple[Check, ...] = (
    unknown_aor_has_no_bindings,
    update_returns_and_keeps_the_new_bindings,
    change_is_given_the_current_bindings,
    addresses_of_record_are_apart,
    expired_bindings_are_gone,
    what_a_change_raises_is_raised_and_changes_nothing,
    updates_at_once_lose_nothing,
    bindings_outlive_the_store,
)
"""All of them."""


class _Refused(Exception):
    pass


def _expect(found: object, expected: object) -> None:
    """Says more than a bare assert, which is silent where pytest does not rewrite it."""
    if found != expected:
        raise AssertionError(f"expected {expected!r}, got {found!r}")


def _binding(contact: str) -> Binding:
    return Binding(contact, expires_at=time.time() + 3600.25, q=1.0, call_id="1@192.0.2.1", cseq=1)


async def _bindings(store: ILocationStore, aor: str) -> Bindings:
    return await _awaited(store.bindings(aor))


async def _add(store: ILocationStore, aor: str, binding: Binding) -> None:
    await store.update(aor, lambda current: (*current, binding))


async def _refusal(
    store: ILocationStore, aor: str, change: Callable[[Bindings], Bindings]
) -> _Refused | None:
    """What an update raised; None if it went through."""
    try:
        await store.update(aor, change)
    except _Refused as refused:
        return refused
    return None


async def _awaited(later: BindingsLater) -> Bindings:
    return later if isinstance(later, tuple) else await later
