"""The secure server list, in a file of its own: for many servers, or where another tool writes the list."""

from __future__ import annotations

from pathlib import Path

from attrs import field, frozen
from zope.interface import implementer

from sipmesh.decisions import ENTERPRISE, Presented, Reach, TrustedServer
from sipmesh.interfaces import ISecureServerList

from .names import claimed, host_name


@implementer(ISecureServerList)
@frozen
class FileServerList:
    """Our own servers, by the names that their certificates prove: one a line, ``#`` begins a comment.

    .. code-block:: toml

       [[server_list]]
       policy = "server-list.file"
       file = "servers.txt"

    The file is read once, when the policy is built; a reload of the server reads it again. A file with one
    line that is no name is refused as a whole: half a list is not what its author meant. Who is not listed is
    not recognised, as with :class:`.StaticServerList`.

    :ivar file: UTF-8 text.
    :raises OSError: if it can't be read.
    :raises ValueError: if a line holds something else than a host name; the message names file and line.
    """

    file: Path
    _names: frozenset[str] = field(init=False, repr=False)

    @_names.default
    def _read(self) -> frozenset[str]:
        return read_names(self.file)

    def recognise(self, presented: Presented) -> TrustedServer | None:
        """See :class:`.ISecureServerList`."""
        name = claimed(presented, self._names)
        return None if name is None else TrustedServer(name, f"{name} is listed in {self.file}")

    def reach(self, name: str) -> Reach | None:
        """See :class:`.ISecureServerList`."""
        return Reach(name, f"{name} is listed in {self.file}", ENTERPRISE) if name in self._names else None


def read_names(file: Path) -> frozenset[str]:
    """The names in a file. Blocks on it.

    :raises OSError: if it can't be read.
    :raises ValueError: if a line holds something else than a host name.
    """
    names: set[str] = set()
    for number, line in enumerate(file.read_bytes().splitlines(), 1):
        try:
            # Some editors begin a file with a byte order mark, which nobody sees.
            text = line.partition(b"#")[0].decode("utf-8-sig").strip()
            if text:
                names.add(host_name(text))
        except ValueError as error:
            raise ValueError(f"{file}, line {number}: {error}") from None
    return frozenset(names)
