"""`hookctl trace`: the record, as people look at it."""
