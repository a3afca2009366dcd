"""Which devices a cgroup may use: the rules, and for v2 the program of them."""
