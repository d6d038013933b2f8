"""SipMesh: a Twisted framework for a network of trusted SIP servers."""

__version__ = "0.1.0"
