"""Doubles of the systems around the management server, on real loopback sockets."""
