"""Kamailio as a real process: a registrar and record-routing relay that other servers reach over mutual TLS."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from os import environ
from pathlib import Path

from processes import PATIENCE, Company, loopback_address, wait_for

CLIENTS = 5062
"""The port on which Kamailio asks for no certificate; on 5061 it demands one."""


class Kamailio:
    """Users of ``domain`` register at it; what is for others goes to ``peer``.

    :param name: the host name that it goes by.
    :param peer: the name and address of the SipMesh server that it hands to what is not its own.
    :param cas: files of the CAs that it trusts.
    :param credential: files of its certificate and key.
    :param by_name: whether its Record-Route has ``name``; else IP addresses, as is Kamailio's default.
    """

    def __init__(
        self,
        company: Company,
        name: str,
        domain: str,
        peer: tuple[str, str],
        cas: tuple[Path, ...],
        credential: tuple[Path, Path],
        *,
        by_name: bool = False,
        address: str | None = None,
    ) -> None:
        self.name = name
        self.address = address or loopback_address()
        self.directory = company.directory / f"kamailio-{name}-{self.address}"
        self.directory.mkdir()
        self.log = self.directory / "log"
        self._process: subprocess.Popen[bytes] | None = None
        certificate, key = credential
        (self.directory / "ca.pem").write_bytes(b"".join(ca.read_bytes() for ca in cas))
        # Its `advertise` would do the same, but wants a DNS that knows the name.
        preset = f'record_route_preset("{name}:5061;transport=tls")'
        values = {
            "DIRECTORY": str(self.directory),
            "ADDRESS": self.address,
            "RECORD_ROUTE": preset if by_name else "record_route()",
            "NAME": name,
            "DOMAIN": domain,
            "PEER_NAME": peer[0],
            "PEER_ADDRESS": peer[1],
            "CERTIFICATE": str(certificate),
            "KEY": str(key),
        }
        self._write("kamailio.cfg", _CONFIGURATION, values)
        self._write("tls.cfg", _TLS, values)

    def _write(self, file: str, text: str, values: dict[str, str]) -> None:
        (self.directory / file).write_text(re.sub(r"__([A-Z_]+)__", lambda found: values[found[1]], text))

    def begin(self) -> None:
        """Start it."""
        # Debian puts it where only an administrator's PATH leads.
        program = shutil.which("kamailio", path=f"{environ.get('PATH', '')}:/usr/sbin")
        assert program is not None, "kamailio is not installed"
        arguments = ["-DD", "-E", "-m", "64", "-M", "8", "-f", "kamailio.cfg", "-Y", str(self.directory)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [program, *arguments], cwd=self.directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def wait_until_listening(self) -> None:
        """Wait for what :meth:`begin` began."""
        wait_for(self._listens, f"{self.name} does not listen: see {self.log}")

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text()
        with socket.socket() as probe:
            return probe.connect_ex((self.address, CLIENTS)) == 0

    def stop(self) -> None:
        """End it and its children."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(PATIENCE)

    def saw(self) -> list[tuple[str, ...]]:
        """What servers sent it: ``("request", METHOD)`` and ``("answer", METHOD, STATUS)``, in order."""
        lines = re.findall(r"<script>: saw (.*)", self.log.read_text(errors="replace"))
        return [tuple(line.split()) for line in lines]


_CONFIGURATION = """#!KAMAILIO
debug=1
log_stderror=yes
children=1
tcp_children=2
auto_aliases=no
tcp_source_ipv4=__ADDRESS__
enable_tls=yes
alias="__NAME__"
listen=tls:__ADDRESS__:5061
listen=tls:__ADDRESS__:5062
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "maxfwd.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "xlog.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
loadmodule "tls.so"
modparam("tls", "config", "__DIRECTORY__/tls.cfg")

request_route {
  if ($Rp == 5061 || $si == "__PEER_ADDRESS__") xlog("L_NOTICE", "saw request $rm\\n");
  if (!mf_process_maxfwd_header("10")) { sl_send_reply("483", "Too Many Hops"); exit; }
  if (is_method("CANCEL")) { if (t_check_trans()) t_relay(); exit; }
  if (has_totag()) {
    if (loose_route()) { route(RELAY); exit; }
    if (is_method("ACK")) { if (t_check_trans()) t_relay(); exit; }
    sl_send_reply("404", "Not here");
    exit;
  }
  if (is_method("INVITE")) __RECORD_ROUTE__;
  if ($rd == "__DOMAIN__") {
    if (is_method("REGISTER")) {
      # 4: the new contact replaces all others.
      if ($Rp == 5062) save("location", "4"); else sl_send_reply("403", "Forbidden");
      exit;
    }
    if (!lookup("location")) { sl_send_reply("404", "Not registered"); exit; }
  } else {
    $du = "sip:__PEER_NAME__:5061;transport=tls";
  }
  route(RELAY);
}

# No DNS knows the names of a test.
route[RELAY] {
  if ($dd == "__PEER_NAME__") $du = "sip:__PEER_ADDRESS__:5061;transport=tls";
  if (!t_relay()) sl_reply_error();
}

reply_route {
  if ($Rp == 5061 || $si == "__PEER_ADDRESS__") xlog("L_NOTICE", "saw answer $rm $rs\\n");
}
"""

_TLS = """
[server:default]
method = TLSv1.2+
verify_certificate = yes
require_certificate = yes
certificate = __CERTIFICATE__
private_key = __KEY__
ca_list = __DIRECTORY__/ca.pem

[server:__ADDRESS__:5062]
method = TLSv1.2+
verify_certificate = no
require_certificate = no
certificate = __CERTIFICATE__
private_key = __KEY__

[client:default]
method = TLSv1.2+
verify_certificate = yes
require_certificate = yes
certificate = __CERTIFICATE__
private_key = __KEY__
ca_list = __DIRECTORY__/ca.pem
"""
