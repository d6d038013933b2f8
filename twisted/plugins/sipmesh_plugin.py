"""How Twisted finds SipMesh: the ``twistd sipmesh`` command, and the policies that come with it."""

from twisted.application.service import ServiceMaker
from twisted.cred.checkers import ICredentialsChecker

from sipmesh.decisions import PolicyPlugin
from sipmesh.interfaces import IFederationPolicy, ILocationStore, IRoutingPolicy, ISecureServerList

sipmesh = ServiceMaker(
    "sipmesh", "sipmesh.server.tap", "A SIP server in a network of trusted servers", "sipmesh"
)

server_list_static = PolicyPlugin(
    "server-list.static",
    ISecureServerList,
    "sipmesh_plugins.server_list_static:StaticServerList",
    "our servers, named in the configuration",
)
server_list_file = PolicyPlugin(
    "server-list.file",
    ISecureServerList,
    "sipmesh_plugins.server_list_file:FileServerList",
    "our servers, named in a file, one a line",
)
federation_block = PolicyPlugin(
    "federation.block",
    IFederationPolicy,
    "sipmesh_plugins.federation_block:BlockList",
    "domains that are refused whatever comes after",
)
federation_allow = PolicyPlugin(
    "federation.allow",
    IFederationPolicy,
    "sipmesh_plugins.federation_allow:AllowList",
    "partners by domain, each with its CA and, where wanted, a fixed next hop",
)
routing_registered = PolicyPlugin(
    "routing.registered",
    IRoutingPolicy,
    "sipmesh_plugins.routing_registered:RegisteredUsers",
    "requests for our users, to the contacts that they registered",
)
routing_federated = PolicyPlugin(
    "routing.federated",
    IRoutingPolicy,
    "sipmesh_plugins.routing_federated:FederatedDomains",
    "requests for other domains, to the partners that federation lets us reach",
)
routing_static = PolicyPlugin(
    "routing.static",
    IRoutingPolicy,
    "sipmesh_plugins.routing_static:StaticRoutes",
    "requests for a domain or host, to a fixed next hop",
)
location_sqlite = PolicyPlugin(
    "location.sqlite",
    ILocationStore,
    "sipmesh_plugins.location_sqlite:SqliteLocations",
    "the location service in an SQLite file",
)
users_sqlite = PolicyPlugin(
    "users.sqlite",
    ICredentialsChecker,
    "sipmesh_plugins.users_sqlite:SqliteUsers",
    "users in an SQLite file, without their passwords",
)
