"""Who called, and what of that can be believed."""
