"""A container on disk: its directory, its state, its life and end."""
