"""Stand-ins for what is outside the agent server, with faults on demand."""
