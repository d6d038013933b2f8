"""Debian's baresip as a phone: a process of its own, commanded and watched through its ``ctrl_tcp`` module.

baresip 1.0.0 never asks OpenSSL to verify the server it talks to: with any CA file, or none, it registers. What
its own configuration has no key for, OpenSSL's does (``VerifyMode`` as the system's default), so these phones
get one. That checks the chain within ``sip_cafile``; no name is checked.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import wave
from pathlib import Path

from processes import PATIENCE, loopback_address, wait_for

_CONTROL_PORT = 4444
_SECONDS_OF_TONE = 30


class Baresip:
    """:param directory: for its files; made here.

    :param account: what stands in its ``accounts`` file.
    :param ca: whom it trusts.
    :param name_server: ``address:port`` of its DNS server. It does not look into ``/etc/hosts``.
    """

    def __init__(self, directory: Path, account: str, ca: Path, name_server: str) -> None:
        directory.mkdir()
        self.log = directory / "log"
        self.events: list[dict[str, object]] = []
        self._address = loopback_address()
        self._received = b""
        tone = directory / "tone.wav"
        _write_tone(tone)
        (directory / "accounts").write_text(account + "\n")
        (directory / "config").write_text(
            _CONFIGURATION.format(
                ca=ca,
                name_server=name_server,
                control=f"{self._address}:{_CONTROL_PORT}",
                directory=directory,
            )
        )
        openssl = directory / "openssl.cnf"
        openssl.write_text(_VERIFY_PEERS)
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                ["baresip", "-f", str(directory)],
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "OPENSSL_CONF": str(openssl), "HOME": str(directory)},
            )
        wait_for(self._answers, f"baresip does not start: see {self.log}")

    def _answers(self) -> bool:
        assert self._process.poll() is None, self.log.read_text()
        try:
            self._control = socket.create_connection((self._address, _CONTROL_PORT), PATIENCE)
        except ConnectionRefusedError:
            return False
        return True

    def wait_for_log(self, text: str) -> None:
        """Wait until baresip has said this."""
        wait_for(lambda: text in self.log.read_text(errors="replace"), f"{text!r} is not in {self.log}")

    def command(self, name: str, parameters: str = "") -> None:
        """Give a command, such as ``dial``; what comes of it comes as events."""
        text = json.dumps({"command": name, "params": parameters}).encode()
        self._control.sendall(b"%d:%s," % (len(text), text))

    def until(self, event_type: str) -> dict[str, object]:
        """The next event of this type, such as ``CALL_ESTABLISHED``; it may have come before others asked for."""
        while not any(event["type"] == event_type for event in self.events):
            message = self._message()
            if message.get("event"):
                self.events.append(message)
        return self.events.pop(next(n for n, e in enumerate(self.events) if e["type"] == event_type))

    def _message(self) -> dict[str, object]:
        """One netstring of JSON."""
        while True:
            length, colon, rest = self._received.partition(b":")
            if colon and len(rest) > int(length):
                self._received = rest[int(length) + 1 :]
                message: dict[str, object] = json.loads(rest[: int(length)])
                return message
            data = self._control.recv(65536)
            assert data, f"baresip ended: see {self.log}; seen: {self.events}"
            self._received += data

    def close(self) -> None:
        """End it; it unregisters and hangs up."""
        self._control.close()
        self._process.terminate()
        self._process.wait(PATIENCE)


def _write_tone(path: Path) -> None:
    """What is said in a call: baresip hangs up when there is nothing more to say."""
    with wave.open(str(path), "wb") as tone:
        tone.setnchannels(1)
        tone.setsampwidth(2)
        tone.setframerate(8000)
        tone.writeframes(b"\x00\x10\x00\xf0" * (4000 * _SECONDS_OF_TONE))


_CONFIGURATION = """
poll_method epoll
sip_cafile {ca}
dns_server {name_server}
net_interface 127.0.0.1
audio_source aufile,{directory}/tone.wav
audio_player aufile,{directory}/heard.wav
audio_alert aufile,{directory}/ringing.wav
module_path /usr/lib/baresip/modules
module g711.so
module aufile.so
module_tmp account.so
module_app menu.so
module ctrl_tcp.so
ctrl_tcp_listen {control}
statmode_default off
"""
_VERIFY_PEERS = """
openssl_conf = all
[all]
ssl_conf = modules
[modules]
system_default = defaults
[defaults]
VerifyMode = Peer
"""
