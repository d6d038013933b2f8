"""How SipMesh finds the policy: imported whenever policies are listed, the policy itself only when used."""

from sipmesh.decisions import PolicyPlugin
from sipmesh.interfaces import IRoutingPolicy

office_hours = PolicyPlugin(
    "routing.office-hours",
    IRoutingPolicy,
    "office_hours:OfficeHours",
    "calls outside office hours, to the desk that is always there",
)
