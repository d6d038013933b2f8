"""An existing twisted.web application with a SipMesh server beside its site: one process, one reactor."""

from pathlib import Path

from switchboard import DoNotDisturb, Switchboard
from twisted.application.internet import StreamServerEndpointService
from twisted.application.service import Application
from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString
from twisted.web.server import Site

from sipmesh.server.configuration import Configuration, Listen, Server, Tls, Trust
from sipmesh.server.policies import Policies
from sipmesh.server.service import SipMeshService
from sipmesh_plugins.location_sqlite import SqliteLocations
from sipmesh_plugins.routing_registered import RegisteredUsers
from sipmesh_plugins.users_database import list_users
from sipmesh_plugins.users_sqlite import SqliteUsers

site = Path("site")
users = SqliteUsers(site / "users.db")
locations = SqliteLocations(site / "location.db")
do_not_disturb = DoNotDisturb()

application = Application("switchboard")

# The web application, as it was.
aors = [f"sip:{user.username}@{user.domain}" for user in list_users(users.database)]
page = Switchboard(aors, locations, do_not_disturb)
web = StreamServerEndpointService(serverFromString(reactor, "tcp:8080:interface=127.0.0.1"), Site(page))
web.setServiceParent(application)

# SIP beside it. The policy comes first, as the first that has an opinion decides.
sip = SipMeshService(
    reactor,
    Configuration(
        server=Server(name="sip.a.example", domains=("a.example",)),
        tls=Tls(site / "sip.a.example.pem", site / "sip.a.example.key"),
        trust=Trust(enterprise=(site / "ca.pem",)),
        listen=(Listen("tcp:5061:interface=127.0.0.1", peers="clients"),),
    ),
    Policies(routing=(do_not_disturb, RegisteredUsers()), users=users, locations=locations),
)
sip.setServiceParent(application)
