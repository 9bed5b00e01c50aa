"""Forwards requests to agents, and agents' requests to management."""
