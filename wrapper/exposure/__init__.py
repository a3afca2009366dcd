"""What a call's mounts show of this host: the facts that policies judge sources by (`hookrun.policies.sources`)."""
