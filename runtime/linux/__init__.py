"""The kernel's interface: system calls, namespaces, mounts, capabilities, seccomp, LSMs."""
