"""SIP as bytes: messages, URIs, header fields, framing, digest. No I/O, no clock, no Twisted."""

from .errors import SipSyntaxError
from .headers import Address, CSeq, Via
from .message import MalformedRequest, Message, Request, Response, parse_message
from .uri import OtherUri, SipUri, TelUri, Uri, parse_sip_uri, parse_uri

__all__ = [
    "Address",
    "CSeq",
    "MalformedRequest",
    "Message",
    "OtherUri",
    "Request",
    "Response",
    "SipSyntaxError",
    "SipUri",
    "TelUri",
    "Uri",
    "Via",
    "parse_message",
    "parse_sip_uri",
    "parse_uri",
]
