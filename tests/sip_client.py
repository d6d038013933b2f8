"""A SIP client for tests: a TLS socket, the framing, and digest; every wait has an end."""

from __future__ import annotations

import itertools
import socket
import ssl
from pathlib import Path

from processes import PATIENCE

from sipmesh.sip import Request, Response
from sipmesh.sip.digest import expected_response, ha1, parse_credentials
from sipmesh.sip.framing import KeepAlive, Limits, StreamFramer

_numbers = itertools.count(1)


class SipClient:
    """:param server_name: the name that the server's certificate has to prove; None not to look.

    :param certificate: files of a certificate and key to show.
    """

    def __init__(
        self,
        address: str,
        ca: Path,
        server_name: str | None = None,
        certificate: tuple[Path, Path] | None = None,
        port: int = 5061,
    ) -> None:
        context = ssl.create_default_context(cafile=str(ca))
        context.check_hostname = server_name is not None
        if certificate is not None:
            context.load_cert_chain(*certificate)
        raw = socket.create_connection((address, port), PATIENCE)
        self.socket = context.wrap_socket(raw, server_hostname=server_name)
        self.here = "{}:{}".format(*self.socket.getsockname()[:2])
        self._framer = StreamFramer(Limits())
        self._ready: list[Request | Response] = []

    def send(self, text: str, body: str = "") -> None:
        """Send a message; lines end in CRLF here, and Content-Length is added."""
        head = text.strip().replace("\n", "\r\n")
        self.socket.sendall(f"{head}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())

    def receive(self) -> Request | Response:
        """The next message, keep-alives left out.

        :raises ConnectionError: if the server closes instead.
        """
        while not self._ready:
            data = self.socket.recv(65536)
            if not data:
                raise ConnectionError("the server closed the connection")
            for item in self._framer.feed(data):
                assert not isinstance(item, Exception), item
                if not isinstance(item, KeepAlive):
                    self._ready.append(item)
        return self._ready.pop(0)

    def response(self) -> Response:
        """The next final response; provisional ones are passed over."""
        while True:
            message = self.receive()
            assert isinstance(message, Response), message
            if message.status >= 200:
                return message

    def request(self, method: str) -> Request:
        """The next message, which has to be a request of this method."""
        message = self.receive()
        assert isinstance(message, Request), message
        assert message.method == method.encode()
        return message

    def ask(
        self, method: str, uri: str, user: str, more: str = "", body: str = "", to: str | None = None
    ) -> str:
        """Send a request outside a dialog; its Call-ID is returned."""
        number = next(_numbers)
        call_id = f"c{number}@{self.here}"
        self.send(
            f"""{method} {uri} SIP/2.0
Via: SIP/2.0/TLS {self.here};branch=z9hG4bKt{number};rport
From: <{user}>;tag=f{number}
To: <{to or uri}>
Call-ID: {call_id}
CSeq: {number} {method}
Max-Forwards: 70
Contact: <sip:{user.partition(":")[2].partition("@")[0]}@{self.here};transport=tls>
{more}""",
            body,
        )
        return call_id

    def ask_proven(
        self,
        method: str,
        uri: str,
        user: str,
        password: str,
        more: str = "",
        body: str = "",
        to: str | None = None,
    ) -> Response:
        """The same, and answer the challenge; the final response is returned."""
        self.ask(method, uri, user, more, body, to)
        challenge = self.response()
        if challenge.status not in (401, 407):
            return challenge
        if method == "INVITE":
            self.acknowledge(challenge)
        field = "www-authenticate" if challenge.status == 401 else "proxy-authenticate"
        answer = "Authorization" if challenge.status == 401 else "Proxy-Authorization"
        line = answer_challenge(challenge.all(field.encode())[0].decode(), method, uri, user, password)
        self.ask(method, uri, user, f"{answer}: {line}\n{more}".strip(), body, to)
        return self.response()

    def register(self, user: str, password: str, expires: int = 600) -> Response:
        """Register this connection as a contact of ``user``, such as ``sip:alice@a.example``."""
        domain = user.partition("@")[2]
        return self.ask_proven("REGISTER", f"sip:{domain}", user, password, f"Expires: {expires}", to=user)

    def respond(self, request: Request, status: int, more: str = "", body: str = "") -> None:
        """Answer a request."""
        copied = [
            request.raw[start:end].decode()
            for name, start, _, end in request.fields
            if name in (b"via", b"from", b"call-id", b"cseq", b"record-route")
        ]
        to = request.first(b"to").decode()
        tag = "" if ";tag=" in to else ";tag=callee"
        self.send("\n".join([f"SIP/2.0 {status} Test", *copied, f"To: {to}{tag}", more]).strip(), body)

    def acknowledge(self, response: Response, uri: str = "sip:x@y.example") -> None:
        """The ACK of a final response that is no 2xx."""
        via, from_, to, call_id = (response.first(n).decode() for n in (b"via", b"from", b"to", b"call-id"))
        self.send(
            f"ACK {uri} SIP/2.0\nVia: {via}\nFrom: {from_}\nTo: {to}\nCall-ID: {call_id}\n"
            f"CSeq: {response.cseq.number} ACK\nMax-Forwards: 70"
        )

    def in_dialog(self, method: str, response: Response, number: int, uri: str = "") -> None:
        """A request inside the dialog that a 2xx to our INVITE made: its Route set is the Record-Route, reversed."""
        routes = "\n".join(f"Route: {value.decode()}" for value in reversed(response.values(b"record-route")))
        target = uri or response.first(b"contact").decode().strip("<>").partition(">")[0]
        from_, to, call_id = (response.first(n).decode() for n in (b"from", b"to", b"call-id"))
        text = (
            f"{method} {target} SIP/2.0\nVia: SIP/2.0/TLS {self.here};branch=z9hG4bKd{next(_numbers)};rport\n"
            f"{routes}\nFrom: {from_}\nTo: {to}\nCall-ID: {call_id}\nCSeq: {number} {method}\nMax-Forwards: 70"
        )
        self.send("\n".join(line for line in text.split("\n") if line))

    def provisional(self, status: int) -> Response:
        """The next provisional response of this status; others before it are passed over."""
        while True:
            message = self.receive()
            assert isinstance(message, Response), message
            assert message.status < 200, message
            if message.status == status:
                return message

    def cancel(self, ringing: Response, uri: str) -> None:
        """Cancel our INVITE to ``uri``, to which a provisional response came."""
        via, from_, call_id = (ringing.first(n).decode() for n in (b"via", b"from", b"call-id"))
        self.send(
            f"CANCEL {uri} SIP/2.0\nVia: {via}\nFrom: {from_}\nTo: <{uri}>\n"
            f"Call-ID: {call_id}\nCSeq: {ringing.cseq.number} CANCEL\nMax-Forwards: 70"
        )

    def in_dialog_back(self, method: str, invite: Request, number: int) -> None:
        """A request of ours inside the dialog that we made with a 2xx to ``invite``: its Route set is as it came."""
        routes = "".join(f"Route: {value.decode()}\n" for value in invite.values(b"record-route"))
        target = invite.first(b"contact").decode().strip("<>").partition(">")[0]
        from_, to, call_id = (invite.first(n).decode() for n in (b"to", b"from", b"call-id"))
        self.send(
            f"{method} {target} SIP/2.0\nVia: SIP/2.0/TLS {self.here};branch=z9hG4bKb{next(_numbers)};rport\n"
            f"{routes}From: {from_};tag=callee\nTo: {to}\nCall-ID: {call_id}\nCSeq: {number} {method}\n"
            "Max-Forwards: 70"
        )

    def close(self) -> None:
        """Hang up the connection."""
        self.socket.close()


def answer_challenge(challenge: str, method: str, uri: str, user: str, password: str) -> str:
    """The value of an Authorization field that answers a challenge."""
    given = dict(part.strip().split("=", 1) for part in challenge.removeprefix("Digest ").split(","))
    given = {name: value.strip('"') for name, value in given.items()}
    name = user.partition(":")[2].partition("@")[0]
    unsigned = (
        f'Digest username="{name}", realm="{given["realm"]}", nonce="{given["nonce"]}", uri="{uri}", '
        f'qop=auth, nc=00000001, cnonce="c", algorithm={given["algorithm"]}, response="'
    )
    header = parse_credentials((unsigned + "0" * 64 + '"').encode())
    secret = ha1(given["algorithm"], name, given["realm"], password)
    return unsigned + expected_response(given["algorithm"], secret, method.encode(), header) + '"'
