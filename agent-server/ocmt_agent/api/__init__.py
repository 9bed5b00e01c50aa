"""The agent server's HTTP API."""
