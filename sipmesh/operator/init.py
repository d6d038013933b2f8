"""``sipmesh init``: all that a first server needs, in one directory."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from sipmesh_plugins.users_database import create_schema

from . import parameters
from .authority import create_authority
from .ca import issued
from .files import CA_CERTIFICATE, CA_KEY, read_authority, refuse_to_overwrite, write_credential, write_new
from .parameters import DIRECTORY

CONFIGURATION = "sipmesh.toml"
USERS = "users.db"

_TEMPLATE = """\
# The configuration of {name}. `sipmesh check` says what is wrong with it, all in one run.
# Paths are relative to this file. What is commented out shows the default, or an example.

[server]
name = "{name}"           # our name in our certificate
domains = [{domains}]     # the SIP domains whose users are ours
# port = 5061             # where other servers reach us

[tls]
certificate = "{name}.pem"
key = "{name}.key"
# minimum = "1.2"

[trust]
enterprise = ["ca.pem"]   # the CA of our own servers

# One section for each port. peers: "clients" (TLS), "servers" (mutual TLS) or "both".
[[listen]]
endpoint = "tcp:5061"     # all addresses; one alone: "tcp:5061:interface=192.0.2.1"
peers = "both"

# Policies: `sipmesh policies` lists what is installed, with all keys. Of those of a kind the first that has
# an opinion decides. A class of yours is named "module:Class"; its module may stand beside this file.

# Which servers are ours: their certificate is from the enterprise CA, and their name is on this list.
[[server_list]]
policy = "server-list.static"
names = ["{name}"]

# Partners: who is not named is refused.
# [[federation]]
# policy = "federation.allow"
# [[federation.partners]]
# domain = "partner.example"
# ca = "partner-ca.pem"

{users}
# Where requests go.
[[routing]]
policy = "routing.registered"

[[routing]]
policy = "routing.federated"

# [resolver]
# servers = ["192.0.2.53"]  # those of the system
# hosts = "hosts"           # looked into before DNS is asked

# [limits]
# message = 65536                 # bytes
# connections_per_address = 1000
# handshake = 10.0                # seconds

[trace]
socket = "run/trace.sock"   # what `sipmesh trace` reads
"""

_USERS = """\
# Who may register: `sipmesh user add alice@{domain}`.
[users]
policy = "users.sqlite"
database = "users.db"
# realm = "{domain}"
# algorithms = ["SHA-256", "MD5"]

# Where they are registered.
[location]
policy = "location.sqlite"
database = "location.db"

# [registrar]
# minimum = 60              # seconds
# maximum = 7200
# default = 3600
# contacts = 10             # for each user
"""


@click.command()
@click.argument("directory", type=DIRECTORY)
@click.option(
    "--name", type=parameters.name, required=True, help="The server's DNS name, such as fe1.a.example."
)
@click.option(
    "--domain",
    "domains",
    type=parameters.name,
    multiple=True,
    help="A SIP domain whose users are ours; may be repeated.",
)
@click.option(
    "--ca",
    "authority",
    type=DIRECTORY,
    help="The directory with ca.pem and ca.key of the enterprise CA; without it a new CA is made.",
)
def init(directory: Path, name: str, domains: tuple[str, ...], authority: Path | None) -> None:
    """Make DIRECTORY with all that a server needs.

    That is a commented configuration, an enterprise CA, a certificate for the server, and a database for its
    users. Nothing is overwritten. The certificate proves the server's name and the domains, so that clients
    and partners who look for a domain believe the server, too.
    """
    domains = tuple(dict.fromkeys(domains))
    made = [
        directory / CONFIGURATION,
        directory / CA_CERTIFICATE,
        directory / f"{name}.pem",
        directory / f"{name}.key",
    ]
    made += [directory / USERS] if domains else []
    made += [directory / CA_KEY] if authority is None else []
    refuse_to_overwrite(*made)
    now = datetime.now(UTC)
    ca = read_authority(authority) if authority else create_authority(f"Enterprise CA of {name}"[:64], now)
    server = issued(ca, (name, *domains))
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        (directory / "run").mkdir(mode=0o700, exist_ok=True)
        if authority is None:
            write_new(directory / CA_KEY, ca.key_pem, secret=True)
        write_new(directory / CA_CERTIFICATE, ca.certificate_pem)
        write_credential(server, directory / f"{name}.pem", directory / f"{name}.key")
        if domains:
            create_schema(directory / USERS)
        # Last: where there is a configuration, what it names is there.
        write_new(directory / CONFIGURATION, _configuration(name, domains).encode())
    except (OSError, ValueError) as e:
        raise click.ClickException(f"{directory} is not complete: {e}") from e
    click.echo(_next_steps(directory, domains, made=authority is None))


def _configuration(name: str, domains: tuple[str, ...]) -> str:
    users = (
        _USERS.format(domain=domains[0])
        if domains
        else "# No domains, no users: a server that only passes on.\n"
    )
    return _TEMPLATE.format(name=name, domains=", ".join(f'"{domain}"' for domain in domains), users=users)


def _next_steps(directory: Path, domains: tuple[str, ...], *, made: bool) -> str:
    steps = [f"Made {directory}. Next:", "", f"  cd {directory}"]
    if domains:
        steps.append(f"  sipmesh user add alice@{domains[0]}")
    steps += ["  sipmesh check", "  twistd --nodaemon sipmesh", ""]
    steps.append("Clients have to trust ca.pem; give it to them.")
    if made:
        steps.append("Who has ca.key can make servers that all others trust: keep it where no server runs.")
    return "\n".join(steps)
