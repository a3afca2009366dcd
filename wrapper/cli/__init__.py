"""The command line as runc reads it: argv in, a call with its meaning out."""
