"""The unified hierarchy, cgroup v2."""
