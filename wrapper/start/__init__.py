"""The program that starts warm: C around libpython, what it preloads, how the heap is made."""
