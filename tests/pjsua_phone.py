"""pjsua2 as a phone, in a process of its own: commands come on stdin and events go to stdout, a JSON array a line.

``["register", user, password]``, ``["dial", uri]``, ``["hang up"]`` and ``["message", uri, text]``; an incoming
call is answered at once. Its arguments are the server (``name:port``) and a file of CA certificates. The server's
certificate is verified: chain and name.
"""

from __future__ import annotations

import json
import os
import sys
from select import select
from typing import Any

import pjsua2

# pjsip writes its own log to what it finds as stdout.
_events = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


def tell(*event: object) -> None:
    print(json.dumps(event), file=_events, flush=True)


class Call(pjsua2.Call):
    def onCallState(self, parameter: Any) -> None:
        info = self.getInfo()
        tell("call", info.stateText, info.lastStatusCode)


class Account(pjsua2.Account):
    call: Call | None = None

    def onRegState(self, parameter: Any) -> None:
        tell(
            "registered" if self.getInfo().regIsActive else "not registered", parameter.code, parameter.reason
        )

    def onIncomingCall(self, parameter: Any) -> None:
        self.call = Call(self, parameter.callId)
        self.call.answer(_answer(200))

    def onInstantMessage(self, parameter: Any) -> None:
        tell("message", parameter.fromUri, parameter.msgBody)

    def onInstantMessageStatus(self, parameter: Any) -> None:
        tell("message status", parameter.code)


def _answer(status: int) -> pjsua2.CallOpParam:
    parameter = pjsua2.CallOpParam(True)
    parameter.statusCode = status
    return parameter


class Phone:
    def __init__(self, server: str, ca: str) -> None:
        self._server = server
        self._account = Account()
        self._endpoint = pjsua2.Endpoint()
        self._endpoint.libCreate()
        config = pjsua2.EpConfig()
        config.uaConfig.threadCnt = 0  # all happens in poll()
        config.logConfig.consoleLevel = 4
        config.logConfig.level = 4
        self._endpoint.libInit(config)
        transport = pjsua2.TransportConfig()
        transport.boundAddress = "127.0.0.1"
        transport.tlsConfig.CaListFile = ca
        transport.tlsConfig.verifyServer = True
        self._endpoint.transportCreate(pjsua2.PJSIP_TRANSPORT_TLS, transport)
        self._endpoint.libStart()
        self._endpoint.audDevManager().setNullDev()

    def poll(self) -> None:
        self._endpoint.libHandleEvents(10)

    def close(self) -> None:
        self._endpoint.libDestroy()

    def register(self, user: str, password: str) -> None:
        config = pjsua2.AccountConfig()
        config.idUri = f"sip:{user}@{self._server}"
        config.regConfig.registrarUri = f"sip:{self._server};transport=tls"
        config.regConfig.retryIntervalSec = 0
        config.sipConfig.authCreds.append(pjsua2.AuthCredInfo("digest", "*", user, 0, password))
        self._account.create(config)

    def dial(self, uri: str) -> None:
        self._account.call = Call(self._account)
        self._account.call.makeCall(uri, pjsua2.CallOpParam(True))

    def hang_up(self) -> None:
        assert self._account.call is not None
        self._account.call.hangup(pjsua2.CallOpParam(True))

    def message(self, uri: str, text: str) -> None:
        config = pjsua2.BuddyConfig()
        config.uri = uri
        self._buddy = pjsua2.Buddy()
        self._buddy.create(self._account, config)
        parameter = pjsua2.SendInstantMessageParam()
        parameter.content = text
        self._buddy.sendInstantMessage(parameter)


def main() -> None:
    phone = Phone(*sys.argv[1:])
    tell("ready")
    while True:
        phone.poll()
        if select([sys.stdin], [], [], 0)[0]:
            line = sys.stdin.readline()
            if not line:
                break
            command, *arguments = json.loads(line)
            getattr(phone, command.replace(" ", "_"))(*arguments)
    phone.close()


if __name__ == "__main__":
    main()
