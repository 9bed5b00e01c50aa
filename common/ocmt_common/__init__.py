"""Code that the servers and the command share, free of any server's domain."""
