"""Creating and entering a container: the parent's side, the child's side, and the line between them."""
