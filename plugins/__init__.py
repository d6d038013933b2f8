"""The policies that come with SipMesh, one idea a file; they reach the public contract and nothing deeper."""
