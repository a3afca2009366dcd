"""The record for other programs: each format is a function from what was selected to pieces of text."""
