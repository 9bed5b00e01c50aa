"""The client of a user's OpenClaw gateway: admin calls, probes and paired sockets."""
