"""The state that each released version writes, in a directory of that version's name: see keep.py."""
