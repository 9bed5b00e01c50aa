"""Doubles of the systems around the agent server, with injectable faults."""
