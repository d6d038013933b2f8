"""Configuration, composition, and the Twisted service."""
