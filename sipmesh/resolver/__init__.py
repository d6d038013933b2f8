"""RFC 3263 on twisted.names: from a URI to addresses."""

from .candidate import Candidate, NotReachable
from .client import DnsClient, make_dns
from .locate import Locator

__all__ = ["Candidate", "DnsClient", "Locator", "NotReachable", "make_dns"]
