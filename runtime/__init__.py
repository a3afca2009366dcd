"""The core: an OCI runtime for Linux that knows nothing of hook sources, policies or the record."""
