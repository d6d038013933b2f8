"""From a login's avatar id to the user: the realm of the portal that :mod:`.authenticate` asks."""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import IRealm
from zope.interface import Interface, implementer

from sipmesh.interfaces import IUser


@implementer(IUser)
@frozen
class User:
    """A user who has proven who they are.

    :ivar aor: ``sip:user@domain``, in the form of :attr:`sipmesh.sip.SipUri.aor`.
    """

    aor: str


def _log_out() -> None:
    """Nothing is held for a user, so nothing has to be given back."""


@implementer(IRealm)
@frozen
class UserRealm:
    """Users by name.

    :ivar domain: the domain of users whose checker gives no domain.
    """

    domain: str

    def requestAvatar(
        self, avatarId: bytes | str | tuple[()], mind: object, *interfaces: type[Interface]
    ) -> tuple[type[Interface], object, Callable[[], None]]:
        """The user of an avatar id: ``user`` (in the default domain) or ``user@domain``.

        :raises UnauthorizedLogin: for an anonymous login: nobody is nobody's address of record.
        :raises NotImplementedError: if something else than an IUser is wanted.
        :raises ValueError: if the avatar id is neither of the two.
        """
        if IUser not in interfaces:
            raise NotImplementedError("only IUser is known here")
        if isinstance(avatarId, tuple):
            raise UnauthorizedLogin("anonymous logins are not for SIP users")
        name = avatarId.decode("utf-8") if isinstance(avatarId, bytes) else avatarId
        user, at, domain = name.partition("@")
        if not user or "@" in domain or (at and not domain):
            raise ValueError("an avatar id must be 'user' or 'user@domain'")
        return IUser, User(f"sip:{user}@{(domain or self.domain).lower().removesuffix('.')}"), _log_out
