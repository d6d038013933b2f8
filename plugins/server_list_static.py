"""The secure server list, written into the configuration."""

from __future__ import annotations

from attrs import field, frozen
from zope.interface import implementer

from sipmesh.decisions import ENTERPRISE, Presented, Reach, TrustedServer
from sipmesh.interfaces import ISecureServerList

from .names import claimed, host_names


@implementer(ISecureServerList)
@frozen
class StaticServerList:
    """Our own servers, by the names that their certificates prove.

    .. code-block:: toml

       [[server_list]]
       policy = "server-list.static"
       names = ["fe1.a.example", "fe2.a.example"]

    A certificate for any other name is not recognised, whoever issued it; and a listed name that another CA
    than the enterprise's vouches for is refused. Where we connect, only the very name that we meant will do.

    :ivar names: the names, literally: no wildcards, no addresses.
    :raises ValueError: if one of them is no host name.
    """

    names: frozenset[str] = field(converter=host_names)
    _reaches: dict[str, Reach] = field(init=False, repr=False, eq=False)

    @_reaches.default
    def _index(self) -> dict[str, Reach]:
        # Asked for each request, so answered by a look-up.
        return {
            name: Reach(name, f"{name} is in the configured server list", ENTERPRISE) for name in self.names
        }

    def recognise(self, presented: Presented) -> TrustedServer | None:
        """See :class:`.ISecureServerList`."""
        name = claimed(presented, self.names)
        return None if name is None else TrustedServer(name, f"{name} is in the configured server list")

    def reach(self, name: str) -> Reach | None:
        """See :class:`.ISecureServerList`."""
        return self._reaches.get(name)
