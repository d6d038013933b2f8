"""``make run``: a server for this machine alone, made the first time, with two users to register with.

It does what an administrator does, by the same commands: ``sipmesh init``, ``user add``, ``check``, and
``twistd sipmesh``. What differs is said in the configuration that it leaves in the directory.
"""

from __future__ import annotations

import secrets
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from sipmesh.operator.files import write_new
from sipmesh.server.loading import load

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent
NAME = "localhost"
PORT = 5061
USERS = ("alice", "bob")
PASSWORDS = "passwords"

LISTEN = f'endpoint = "tcp:{PORT}"     # all addresses; one alone: "tcp:{PORT}:interface=192.0.2.1"\npeers = "both"\n'
LISTEN_4 = f'endpoint = "tcp:{PORT}:interface=127.0.0.1" # this machine alone\npeers = "both"\n'
LISTEN_6 = f"\n[[listen]]\nendpoint = 'tcp6:{PORT}:interface=\\:\\:1'\npeers = \"both\"\n"
ALGORITHMS = '# algorithms = ["SHA-256", "MD5"]\n'
MD5 = "algorithms = [\"MD5\"] # Debian 12's baresip can't be registered where SHA-256 is offered, too\n"

NAME_SERVER_PORT = 15353
BARESIP_ACCOUNT = "<sip:{user}@{name};transport=tls>;auth_user={user};auth_pass={password}\n"
# Without sound, as a sound card is not what is tried out: a call stands, and is silent.
BARESIP_CONFIGURATION = """\
poll_method epoll
sip_cafile {ca}
net_interface 127.0.0.1
dns_server 127.0.0.1:{name_server}
module_path /usr/lib/baresip/modules
module stdio.so
module g711.so
module_tmp account.so
module_app menu.so
"""

BANNER = """
SipMesh listens.

Listens    {endpoints}
           TLS, for phones, and for servers that show a certificate; reached from this machine alone
Users      alice@{name} and bob@{name}; passwords: {directory}/{passwords}
CA         {directory}/ca.pem: what a phone has to trust
Names      127.0.0.1:{name_server} answers DNS for {name}, for phones that ask nothing else
baresip    baresip -f {directory}/baresip/alice    (Debian: apt install baresip; another terminal for bob)
           It says '200 OK' when it is registered. `/dial sip:bob@{name}` calls bob, who answers
           with `a`; `b` hangs up; `/quit` ends it. There is no sound in it.
linphone   user name alice, domain {name}, transport TLS, proxy sip:{name}:{port};transport=tls,
           and in linphonerc, under [sip]: root_ca={directory}/ca.pem
Watch      {bin}/sipmesh trace --config {directory}/sipmesh.toml
There is no web page: this server speaks SIP alone. Ctrl-C ends it.
"""


def main(directory: Path) -> int:
    """Run until Ctrl-C; what is missing is made before."""
    if not directory.exists():
        print(f"Making {directory}: a CA, a certificate for {NAME}, the users {' and '.join(USERS)} ...")
        make(directory)
    print("Checking it ...", flush=True)
    if sipmesh("check", "--config", str(directory / "sipmesh.toml")):
        return 1
    return serve(directory)


def sipmesh(*arguments: str, said: str = "", quiet: bool = False) -> int:
    """Run a command of SipMesh's; its exit status."""
    output = subprocess.DEVNULL if quiet else None
    return subprocess.run([BIN / "sipmesh", *arguments], input=said, text=True, stdout=output).returncode


def make(directory: Path) -> None:
    """Make it whole, or not at all."""
    new = directory.with_name(f"{directory.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    done = sipmesh("init", str(new), "--name", NAME, "--domain", NAME, quiet=True)
    if done != 0:
        sys.exit(done)
    configuration = new / "sipmesh.toml"
    text = configuration.read_text()
    for old, other in ((LISTEN, LISTEN_4 + (LISTEN_6 if has_ipv6() else "")), (ALGORITHMS, MD5)):
        if old not in text:
            sys.exit(f"`sipmesh init` no longer writes what this script changes: {old!r}")
        text = text.replace(old, other)
    configuration.write_text(text)
    passwords = {user: secrets.token_urlsafe(12) for user in USERS}
    lines = "".join(f"{user}@{NAME} {password}\n" for user, password in passwords.items())
    write_new(new / PASSWORDS, lines.encode(), secret=True)
    for user, password in passwords.items():
        aor = f"{user}@{NAME}"
        arguments = ("user", "add", aor, "--config", str(configuration), "--password-stdin")
        added = sipmesh(*arguments, said=password, quiet=True)
        if added != 0:
            sys.exit(added)
        make_phone(new / "baresip" / user, user, password, directory / "ca.pem")
    new.rename(directory)


def make_phone(directory: Path, user: str, password: str, ca: Path) -> None:
    """What baresip has to be told, for its owner alone: a password is in it."""
    directory.mkdir(mode=0o700, parents=True)
    account = BARESIP_ACCOUNT.format(user=user, name=NAME, password=password)
    (directory / "accounts").write_text(account)
    (directory / "config").write_text(
        BARESIP_CONFIGURATION.format(ca=ca.absolute(), name_server=NAME_SERVER_PORT)
    )


def has_ipv6() -> bool:
    """Whether this machine has ``::1``."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def serve(directory: Path) -> int:
    """Run the server in the foreground, and say how to use it once it listens."""
    # Ctrl-C reaches the server itself, being in the foreground too; this only waits for it to end.
    signal.signal(signal.SIGINT, lambda number, frame: None)
    name_server = subprocess.Popen([sys.executable, HERE / "name_server.py", str(NAME_SERVER_PORT)])
    server = subprocess.Popen(
        [BIN / "twistd", "--nodaemon", "--pidfile=", "sipmesh", "--config", "sipmesh.toml"],
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )

    def end(number: int, frame: FrameType | None) -> None:
        server.terminate()

    signal.signal(signal.SIGTERM, end)
    endpoints = [one.endpoint for one in load(directory / "sipmesh.toml").listen]
    to_come = len(endpoints)
    assert server.stdout is not None
    for line in server.stdout:
        print(line, end="", flush=True)
        if "listening on" in line:
            to_come -= 1
            if to_come == 0:
                print(banner(directory, endpoints), flush=True)
    status = server.wait()
    name_server.terminate()
    name_server.wait()
    if to_come:
        print("The server ended before it listened; the log above says why.", file=sys.stderr)
        return 1
    # twistd ends by the signal that it was sent: that is as it should be.
    return 0 if -status in (signal.SIGINT, signal.SIGTERM) else status


def banner(directory: Path, endpoints: Sequence[str]) -> str:
    """What an administrator needs now."""
    return BANNER.format(
        endpoints="\n           ".join(endpoints),
        name=NAME,
        port=PORT,
        name_server=NAME_SERVER_PORT,
        directory=directory,
        passwords=PASSWORDS,
        bin=BIN.relative_to(Path.cwd()) if BIN.is_relative_to(Path.cwd()) else BIN,
    )


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
