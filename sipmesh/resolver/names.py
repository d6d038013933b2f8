"""Which texts may stand in a DNS query: what a stranger wrote or DNS returned is checked here before use."""

from __future__ import annotations

import re
from ipaddress import ip_address

# RFC 1035 §2.3.4 for the lengths. Underscores stand in service names and in the wild; the last label begins
# with a letter (RFC 3261's toplabel), which keeps the odd ways to write an IP address from passing as names.
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(?:{_LABEL}\.)*[a-z](?:[a-z0-9-]{{0,61}}[a-z0-9])?", re.ASCII)
_LONGEST = 253


def is_dns_name(text: str) -> bool:
    """Whether this is a host or service name: lower case, no trailing dot, every length in its bounds."""
    return len(text) <= _LONGEST and _NAME.fullmatch(text) is not None


def dns_name(wire: bytes) -> str | None:
    """A name from a DNS message in the form in which names are compared; None if it can't be a host's."""
    text = wire.decode("ascii", "replace").lower().removesuffix(".")
    return text if is_dns_name(text) else None


def numeric_host(host: str) -> str | None:
    """The IP address that a URI's host is (RFC 3261 §25.1: IPv4, or IPv6 in brackets); None for any other."""
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        address = ip_address(host[1:-1] if bracketed else host)
    except ValueError:
        return None
    return str(address) if bracketed == (address.version == 6) else None
