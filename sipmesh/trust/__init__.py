"""From a certificate to a peer: identities, anchors, and the judge that asks the policies."""
