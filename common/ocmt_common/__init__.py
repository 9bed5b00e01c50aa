"""Code that the servers and the command share, independent of any server's domain."""
