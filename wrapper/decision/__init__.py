"""What becomes of a call: a config and an invocation go through the stages of the gate."""
