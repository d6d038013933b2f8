"""TLS listeners, flows, and the pool that reuses them."""
