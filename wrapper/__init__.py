"""The front door: argv in, a running container out."""

VERSION = "0.1.0"
STATE = "/var/lib/hookrun"  # the directory of snapshot, heap, launchers and sealed program
