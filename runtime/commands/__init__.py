"""One module for each runc command; each has `run(context, options, arguments)` and returns the exit status."""
