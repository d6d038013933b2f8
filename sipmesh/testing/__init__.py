"""The kit for authors of policies."""
