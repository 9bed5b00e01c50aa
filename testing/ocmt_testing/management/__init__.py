"""Doubles of the management server's surroundings, on real loopback sockets."""
