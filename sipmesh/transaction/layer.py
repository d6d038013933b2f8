"""Match messages to transactions: RFC 3261 §17.1.3 and §17.2.3.

Beyond the RFC, a message matches only if it comes from where the transaction lives: from the same server's
flows, or on the same client's flow. Branches of ours and of those before us are read by everybody after us, so a
branch alone must not be enough to cancel somebody else's call.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

from ..sip.headers import MAGIC_COOKIE
from ..sip.message import Request, Response
from .machines import ClientTransaction, ClientUser, Flow, ServerTransaction
from .wheel import TimerWheel

F = TypeVar("F", bound=Flow)


def _server_key(request: Request, scope: str, method: bytes) -> Hashable:
    via = request.via
    if via.branch.startswith(MAGIC_COOKIE):
        return (via.branch, via.host, via.port, method, scope)
    # RFC 2543 clients: RFC 3261 §17.2.3, second half. The To tag is left out: an ACK has one, its INVITE not.
    return (request.uri_bytes, request.from_tag, request.call_id, request.cseq.number, via, method, scope)


class TransactionLayer(Generic[F]):
    """All transactions of a server."""

    def __init__(self, wheel: TimerWheel) -> None:
        self._wheel = wheel
        self._servers: dict[Hashable, ServerTransaction[F]] = {}
        self._clients: dict[tuple[bytes, bytes], ClientTransaction[F]] = {}
        self._on_flow: dict[F, set[ServerTransaction[F] | ClientTransaction[F]]] = {}

    def accept(self, request: Request, flow: F) -> ServerTransaction[F] | None:
        """The new server transaction that this request (never an ACK) begins.

        :return: None if it repeats one that is known: that has been dealt with.
        :raises SipSyntaxError: if Via, From, Call-ID or CSeq can't be read.
        """
        key = _server_key(request, flow.scope, request.method)
        known = self._servers.get(key)
        if known is not None:
            known.repeated()
            return None
        transaction = ServerTransaction(request, key, flow, self._wheel, self._server_ended)
        self._servers[key] = transaction
        self._join_flow(transaction)
        return transaction

    def invite_of(self, request: Request, flow: F) -> ServerTransaction[F] | None:
        """The INVITE transaction that an ACK or a CANCEL belongs to (RFC 3261 §9.2, §17.2.3)."""
        return self._servers.get(_server_key(request, flow.scope, b"INVITE"))

    def send(
        self, method: bytes, branch: bytes, data: bytes, flow: F, user: ClientUser
    ) -> ClientTransaction[F]:
        """Begin a client transaction, and send its request.

        :param data: the request whole; its top Via has ``branch``.
        """
        key = (branch, method)
        transaction = ClientTransaction(method, branch, data, flow, user, self._wheel, self._client_ended)
        self._clients[key] = transaction
        self._join_flow(transaction)
        transaction.start()
        return transaction

    def responded(self, response: Response, flow: F) -> bool:
        """Give a response to its transaction.

        :return: False if it has none (RFC 6026 §8.9: then it is dropped).
        :raises SipSyntaxError: if its Via or CSeq can't be read.
        """
        transaction = self._clients.get((response.via.branch, response.cseq.method))
        if transaction is None or transaction.flow.scope != flow.scope:
            return False
        transaction.received(response)
        return True

    def flow_lost(self, flow: F) -> None:
        """A flow broke: tell the transactions on it.

        What a user raises is raised when all have been told.
        """
        trouble: Exception | None = None
        for transaction in list(self._on_flow.get(flow, ())):
            try:
                transaction.flow_lost()
            except Exception as error:
                trouble = trouble or error
        if trouble is not None:
            raise trouble

    def on_flow(self, flow: F) -> int:
        """How many transactions are alive on a flow."""
        return len(self._on_flow.get(flow, ()))

    def __len__(self) -> int:
        """How many transactions are alive."""
        return len(self._servers) + len(self._clients)

    def _server_ended(self, transaction: ServerTransaction[F]) -> None:
        del self._servers[transaction.key]
        self._leave_flow(transaction)

    def _client_ended(self, transaction: ClientTransaction[F]) -> None:
        del self._clients[transaction.branch, transaction.method]
        self._leave_flow(transaction)

    def _join_flow(self, transaction: ServerTransaction[F] | ClientTransaction[F]) -> None:
        alive = self._on_flow.get(transaction.flow)
        if alive is None:
            self._on_flow[transaction.flow] = {transaction}
        else:
            alive.add(transaction)

    def _leave_flow(self, transaction: ServerTransaction[F] | ClientTransaction[F]) -> None:
        alive = self._on_flow[transaction.flow]
        alive.discard(transaction)
        if not alive:
            del self._on_flow[transaction.flow]
