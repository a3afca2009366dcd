"""v1, v2, systemd, devices, behind one interface: `choice` gives the `manager.Manager` of a container."""
