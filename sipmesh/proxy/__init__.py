"""RFC 3261 §16: validate, decide, fork, choose the response, CANCEL, Record-Route."""
