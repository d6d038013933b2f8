"""The servers of the figure: a certificate, a configuration and a process each, and a DNS that knows their names."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from attrs import define, field, frozen
from server_process import ServerProcess
from twisted.internet.interfaces import IReactorProcess

from sipmesh.operator.authority import Credential, create_authority, issue
from sipmesh_plugins.users_database import add_user

SABOTAGES = {
    "list-c": "the edge lists c.example as a partner, too",
    "trust-b": "the edge takes B's CA for one of the enterprise's own",
    "list-fe9": "fe9.a.example stands on the edge's server list",
}
"""What can be made wrong, for those who want to see that the demonstration can fail."""

# Each demonstration has a network of its own, so that two may run at once.
NETWORK = f"127.7.{os.getpid() % 254 + 1}"
DNS_ADDRESS = f"{NETWORK}.53"
ADDRESSES = {
    "fe1.a.example": f"{NETWORK}.11",
    "fe2.a.example": f"{NETWORK}.12",
    "fe3.a.example": f"{NETWORK}.13",
    "fe9.a.example": f"{NETWORK}.19",
    "edge.a.example": f"{NETWORK}.10",
    "sip.b.example": f"{NETWORK}.20",
    "sip.c.example": f"{NETWORK}.30",
}
ZONE: Mapping[str, Sequence[str]] = {
    **{name: [f"A {address}"] for name, address in ADDRESSES.items()},
    "_sips._tcp.a.example": ["SRV 10 1 5061 fe1.a.example", "SRV 10 1 5061 fe2.a.example"],
    "_sipfederationtls._tcp.a.example": ["SRV 10 1 5061 edge.a.example"],
    "_sipfederationtls._tcp.b.example": ["SRV 10 1 5061 sip.b.example"],
    "_sipfederationtls._tcp.c.example": ["SRV 10 1 5061 sip.c.example"],
}


@define
class Company:
    """A CA, and a directory for what it issued and for the servers that share it."""

    directory: Path
    domain: str
    authority: Credential = field(init=False)
    ca: Path = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.directory.mkdir()
        self.authority = create_authority(f"CA of {self.domain}", datetime.now(UTC))
        self.ca = self.directory / "ca.pem"
        self.ca.write_bytes(self.authority.certificate_pem)

    def add_user(self, name: str) -> None:
        """Let a user in."""
        password = password_of(f"{name}@{self.domain}")
        add_user(self.directory / "users.db", name, self.domain, self.domain, password)


def password_of(user: str) -> str:
    """What a user proves themselves with."""
    return f"the secret of {user}"


@frozen
class Role:
    """What makes one server differ from another.

    :ivar names: what its certificate proves.
    :ivar sections: its policies, in TOML.
    :ivar peers: whom it listens to.
    :ivar enterprise: the CAs of its own company's servers.
    :ivar issuer: whose CA issued its certificate; its own company's, if none is given.
    """

    names: tuple[str, ...]
    sections: str
    enterprise: tuple[Path, ...]
    peers: str = "both"
    issuer: Company | None = None


def servers(
    reactor: IReactorProcess, directory: Path, dns_port: int, sabotage: frozenset[str]
) -> tuple[dict[str, ServerProcess], dict[str, Company]]:
    """Everything but the start: the processes by the names of their servers, the companies by their domains."""
    companies = {
        domain: Company(directory / domain, domain) for domain in ("a.example", "b.example", "c.example")
    }
    a, b, c = companies.values()
    # Who runs fe3 and fe9 has users of their own making, and one of them is called as our alice is.
    pretenders = Company(directory / "pretenders", "a.example")
    for company, name in ((a, "alice"), (a, "carol"), (b, "bob"), (c, "mallory"), (pretenders, "alice")):
        company.add_user(name)
    listed = ["fe1.a.example", "fe2.a.example", "fe3.a.example", "edge.a.example"]
    fe1, fe2, fe3, fe9 = (f"fe{number}.a.example" for number in (1, 2, 3, 9))
    made = {
        fe1: (a, Role((fe1,), _front_end(listed), (a.ca,))),
        fe2: (a, Role((fe2,), _front_end(listed), (a.ca,))),
        "edge.a.example": (a, _edge(listed, a, b, c, sabotage)),
        "sip.b.example": (b, Role(("sip.b.example", "b.example"), _partner_of_a(a.ca), (b.ca,))),
        "sip.c.example": (c, Role(("sip.c.example", "c.example"), _partner_of_a(a.ca), (c.ca,))),
        fe3: (pretenders, Role((fe3,), _front_end(listed), (a.ca,), issuer=b)),
        fe9: (pretenders, Role((fe9,), _front_end(listed), (a.ca,), issuer=a)),
    }
    processes = {}
    for name, (company, role) in made.items():
        home = company.directory / name.partition(".")[0]
        home.mkdir()
        _write_credential(home, role.issuer or company, role.names)
        (home / "sipmesh.toml").write_text(_configuration(name, company.domain, role, dns_port))
        processes[name] = ServerProcess(reactor, name, home)
    return processes, companies


def _write_credential(home: Path, issuer: Company, names: Sequence[str]) -> None:
    made = issue(issuer.authority, names, datetime.now(UTC))
    (home / "certificate.pem").write_bytes(made.certificate_pem)
    (home / "key.pem").write_bytes(made.key_pem)
    (home / "key.pem").chmod(0o600)


# Configurations ------------------------------------------------------------------------------------------


def _configuration(name: str, domain: str, role: Role, dns_port: int) -> str:
    return f"""
[server]
name = "{name}"
domains = ["{domain}"]

[tls]
certificate = "certificate.pem"
key = "key.pem"

[trust]
enterprise = {_strings(role.enterprise)}

[[listen]]
endpoint = "tcp:5061:interface={ADDRESSES[name]}"
peers = "{role.peers}"

[resolver]
servers = ["{DNS_ADDRESS}:{dns_port}"]

[trace]
socket = "trace.sock"
{role.sections}"""


# Servers of one company share its users and its location service: whoever registers on one is found by all.
_USERS = """
[users]
policy = "users.sqlite"
database = "../users.db"

[location]
policy = "location.sqlite"
database = "../location.db"

[[routing]]
policy = "routing.registered"
"""


def _front_end(listed: Sequence[str]) -> str:
    return f"""{_USERS}
[[routing]]
policy = "routing.static"

[[routing.routes]]
domain = "*"
next_hop = "sip:edge.a.example"

[[server_list]]
policy = "server-list.static"
names = {_strings(listed)}
"""


def _edge(listed: Sequence[str], a: Company, b: Company, c: Company, sabotage: frozenset[str]) -> Role:
    names = [*listed, "fe9.a.example"] if "list-fe9" in sabotage else listed
    sections = f"""
[[server_list]]
policy = "server-list.static"
names = {_strings(names)}

[[federation]]
policy = "federation.allow"

[[federation.partners]]
domain = "b.example"
ca = "{b.ca}"

[[routing]]
policy = "routing.federated"

[[routing]]
policy = "routing.static"

[[routing.routes]]
domain = "a.example"
next_hop = "sip:fe2.a.example"

# Somebody has already written down where C's server is. A route is not trust: nobody lists C.
[[routing.routes]]
domain = "c.example"
next_hop = "sip:sip.c.example"
"""
    if "list-c" in sabotage:
        partner = f'[[federation.partners]]\ndomain = "c.example"\nca = "{c.ca}"\n\n[[routing]]'
        sections = sections.replace("[[routing]]", partner, 1)
    enterprise = (a.ca, b.ca) if "trust-b" in sabotage else (a.ca,)
    return Role(("edge.a.example", "a.example"), sections, enterprise, peers="servers")


def _partner_of_a(ca: Path) -> str:
    return f"""{_USERS}
[[routing]]
policy = "routing.federated"

[[federation]]
policy = "federation.allow"

[[federation.partners]]
domain = "a.example"
ca = "{ca}"
"""


def _strings(values: Sequence[object]) -> str:
    return json.dumps([str(value) for value in values])
