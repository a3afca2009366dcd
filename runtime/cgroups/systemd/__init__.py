"""Cgroups that systemd makes: its D-Bus, its units and their properties."""
