"""A SipMesh server composed in Python, in place of a sipmesh.toml.

sipmesh init site --name sip.a.example --domain a.example
sipmesh user add alice@a.example --config site/sipmesh.toml
twistd --nodaemon --python standalone.tac
"""

from pathlib import Path

from twisted.application.service import Application
from twisted.internet import reactor

from sipmesh.server.configuration import Configuration, Listen, Server, Tls, Trust
from sipmesh.server.policies import Policies
from sipmesh.server.service import SipMeshService
from sipmesh_plugins.location_sqlite import SqliteLocations
from sipmesh_plugins.routing_federated import FederatedDomains
from sipmesh_plugins.routing_registered import RegisteredUsers
from sipmesh_plugins.server_list_static import StaticServerList
from sipmesh_plugins.users_sqlite import SqliteUsers

site = Path("site")

configuration = Configuration(
    server=Server(name="sip.a.example", domains=("a.example",)),
    tls=Tls(site / "sip.a.example.pem", site / "sip.a.example.key"),
    trust=Trust(enterprise=(site / "ca.pem",)),
    listen=(Listen("tcp:5061:interface=127.0.0.1", peers="both"),),
)

# Policies are objects: those that come with SipMesh, or yours. Each kind is asked in its order.
policies = Policies(
    server_lists=(StaticServerList(["sip.a.example", "fe2.a.example"]),),
    routing=(RegisteredUsers(), FederatedDomains()),
    users=SqliteUsers(site / "users.db"),
    locations=SqliteLocations(site / "location.db"),
)

application = Application("sipmesh")
server = SipMeshService(reactor, configuration, policies)
server.setServiceParent(application)
# Half a server is none: if it can't open its port or its database, end.
server.started.addErrback(lambda _: reactor.callWhenRunning(reactor.stop))
