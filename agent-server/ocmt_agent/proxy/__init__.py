"""Forwards requests to agents (proxy), and agents' requests to management (relay)."""
