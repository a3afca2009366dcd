"""The hierarchies of cgroup v1."""
