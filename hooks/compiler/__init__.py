"""Hooks for the snapshot: what `hookctl apply` reads, checks and compiles. A call needs none of it."""
