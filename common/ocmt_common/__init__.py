"""What the servers and the command share. Nothing here knows a server's domain."""
