"""Which hooks a container gets, from every source: plain config in, plain config and a list of injections out."""
