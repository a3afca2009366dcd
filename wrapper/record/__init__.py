"""The record: what was called, what was decided, what changed and how long it took, with no secret in it."""
