"""What is outside the management server, as far as its tests need it, on real loopback sockets."""
