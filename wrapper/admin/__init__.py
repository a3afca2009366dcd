"""hookctl, the tool of the host's operators; one module for each group of commands."""
