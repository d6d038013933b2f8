"""RFC 3263 on twisted.names: from a URI to addresses."""
