"""Whether the server can do its job, and if not, what to do."""
