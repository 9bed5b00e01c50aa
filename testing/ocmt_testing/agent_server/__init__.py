"""Doubles of the agent server's surroundings, with injectable faults."""
