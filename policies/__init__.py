"""What a container may do, and what is changed about it: compiled policies judge a plain config."""
