"""The core: an OCI runtime for Linux that knows nothing of hook sources, policies or the record."""

SPEC_VERSION = "1.3.0"
"""The runtime-spec that states, specs and features follow."""
