"""Other runtimes in place of hookrun's own core."""
